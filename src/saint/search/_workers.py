"""Studies in worker processes: each opens a bench once, then does one job after the other on it."""

import json
from collections import deque
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, final

from typing_extensions import override

from saint import records
from saint.progress import Progress
from saint.search import _executor
from saint.search._crew import Crew
from saint.search._processes import Processes
from saint.search._queue import Job

Result = dict[str, Any]
Demand = Generator[list[Any], list[Result], Any]
"""Yields jobs that may be done at once, and is sent what came of them. A job is a frozen dataclass of plain data."""


class PlainBench(Protocol):
    """What a process loads once."""

    def do(self, job: Any) -> Result:
        """Do a job, unless it was done before; what came of it is on the disk when this returns."""
        ...


OpenBench = Callable[[Progress], PlainBench]
"""A function of a module, or a partial of one: called once in each process, before its first job."""


@final
class Workers:
    """Processes that are started when there is work; they end with the `with` block.

    One that dies is replaced, and another does its job.
    """

    def __init__(self, number: int, open_bench: OpenBench) -> None:
        """Describe them."""
        self._crew = Crew(Processes(_Opener(open_bench)), number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.__exit__(kind, error, trace)

    def fulfil(
        self, demands: Sequence[Demand], *, tell: Callable[[Any, int], None], done: Callable[[Any], None]
    ) -> list[Any]:
        """What each demand returns once all its jobs are done, in the order of the demands.

        Args:
            tell: Called with a job and the number of tokens that were learnt from for it, now and then with 0; what it
                raises ends the work.
            done: Called after each job.

        Raises:
            WorkerError: No process can be kept alive, or one job ends its process again and again.
            SaintError: What a job raised twice.
        """
        desk, crew = Desk(demands), self._crew
        jobs: dict[str, Any] = {}

        def submit() -> None:
            while desk.queue:
                job = desk.queue.popleft()
                name = records.digest(job)
                jobs[name] = job
                crew.submit([Job(name=name, body=job)], check=deliver)

        def deliver(leased: Job, _worker: str, answer: bytes) -> None:
            job = jobs[leased.name]
            done(job)
            desk.deliver(job, json.loads(answer))  # what is asked for now may be the same job again, so it waits

        def pass_on(leased: Job | None, tokens: int) -> None:
            if leased is not None:
                tell(jobs[leased.name], tokens)
                return
            for lease in crew.queue.leases:
                tell(jobs[lease.job.name], 0)

        submit()
        crew.finish(tell=pass_on, watch=lambda _: submit())
        return [desk.returned[number] for number in range(len(demands))]


@final
class _Opener:
    """Opens a bench whose results are sent as JSON; it can be sent itself, as a function in a function cannot."""

    def __init__(self, open_bench: OpenBench) -> None:
        self._open_bench = open_bench

    def __call__(self, progress: Progress) -> _executor.Bench:
        return _Plain(self._open_bench(progress))


@final
class _Plain(_executor.Bench):
    def __init__(self, bench: PlainBench) -> None:
        self._bench = bench

    @override
    def hello(self) -> bytes:
        return b""

    @override
    def do(self, body: Any) -> bytes:
        return records.to_canonical(self._bench.do(body)).encode()


class _Ticket(NamedTuple):
    """Where the result of a job goes."""

    demand: int
    place: int


@final
class Desk:
    """Takes demands one step further whenever all that they asked for is there.

    A job that two demands ask for at the same time is done once, and both are given what came of it.
    """

    def __init__(self, demands: Sequence[Demand]) -> None:
        self._demands = demands
        self._delivered: dict[int, dict[int, Result]] = {number: {} for number in range(len(demands))}
        self._asked: dict[int, int] = {}
        self._open: dict[str, list[_Ticket]] = {}
        self.queue: deque[Any] = deque()
        self.returned: dict[int, Any] = {}
        for number in range(len(demands)):
            self._go_on(number, None)

    def deliver(self, job: Any, result: Result) -> None:
        """Give what came of a job to all who asked for it."""
        for ticket in self._open.pop(records.digest(job)):
            delivered = self._delivered[ticket.demand]
            delivered[ticket.place] = result
            if len(delivered) == self._asked[ticket.demand]:
                self._delivered[ticket.demand] = {}
                self._go_on(ticket.demand, [delivered[place] for place in range(len(delivered))])

    def _go_on(self, number: int, results: list[Result] | None) -> None:
        demand = self._demands[number]
        try:
            jobs = next(demand) if results is None else demand.send(results)
        except StopIteration as stop:
            self.returned[number] = stop.value
            return
        assert jobs, "a demand that asks for nothing would wait for ever"
        self._asked[number] = len(jobs)
        for place, job in enumerate(jobs):
            asking = self._open.setdefault(records.digest(job), [])
            if not asking:
                self.queue.append(job)
            asking.append(_Ticket(number, place))
