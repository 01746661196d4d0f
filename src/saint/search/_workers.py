"""Worker processes: each opens a bench once, then does one job after the other on it."""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, final

from typing_extensions import override

from saint import records
from saint.errors import Interrupted, SaintError, WorkerError
from saint.progress import Progress, Task

_POLL_S = 0.2
_PATIENCE_S = 20.0  # for a worker to come to the end of a step

Result = dict[str, Any]
Demand = Generator[list[Any], list[Result], Any]
"""Yields jobs that may be done at once, and is sent what came of them. A job is a frozen dataclass of plain data."""


class Bench(Protocol):
    """What a process loads once."""

    def do(self, job: Any) -> Result:
        """Do a job, unless it was done before; what came of it is on the disk when this returns."""
        ...


OpenBench = Callable[[Progress], Bench]
"""A function of a module, or a partial of one: called once in each process, before its first job."""


@final
class Workers:
    """Processes that are started when there is work; they end with the `with` block."""

    def __init__(self, number: int, open_bench: OpenBench) -> None:
        """Describe them."""
        self._number, self._open_bench = number, open_bench
        self._workers: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._workers:
            pipe.close()  # a worker saves what is under way and ends
        for process in self._workers.values():
            process.join(_PATIENCE_S)
            if process.is_alive():
                process.terminate()
                process.join()

    def fulfil(
        self, demands: Sequence[Demand], *, tell: Callable[[Any, int], None], done: Callable[[Any], None]
    ) -> list[Any]:
        """What each demand returns once all its jobs are done, in the order of the demands.

        Args:
            tell: Called with a job and the number of tokens that were learnt from for it, now and then with 0; what it
                raises ends the work.
            done: Called after each job.

        Raises:
            WorkerError: A process died.
            SaintError: What a job raised.
        """
        desk = Desk(demands)
        if desk.queue:
            self._start()
        busy: dict[Connection, Any] = {}
        while desk.queue or busy:
            idle = [pipe for pipe in self._workers if pipe not in busy]
            for pipe in idle[: len(desk.queue)]:
                busy[pipe] = job = desk.queue.popleft()
                pipe.send(job)
            for pipe, (what, value) in self._hear(busy):
                if what == "tokens":
                    tell(busy[pipe], value)
                else:
                    job = busy.pop(pipe)
                    done(job)
                    desk.deliver(job, value)
            for job in busy.values():
                tell(job, 0)
        return [desk.returned[number] for number in range(len(demands))]

    def _start(self) -> None:
        context = get_context("spawn")
        with _ignoring_ctrl_c():  # the children inherit it: a stop reaches them through their pipe
            for _ in range(self._number):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, self._open_bench), daemon=True)
                process.start()
                theirs.close()
                self._workers[ours] = process

    def _hear(self, busy: dict[Connection, Any]) -> Iterator[tuple[Connection, tuple[str, Any]]]:
        """What the busy workers say, waiting a little for it."""
        for pipe in wait(list(busy), _POLL_S):
            assert isinstance(pipe, Connection)  # nothing else was waited for
            try:
                what, value = pipe.recv()
            except EOFError as error:
                raise WorkerError(
                    "a worker process died, perhaps for want of memory; run the same command again, with fewer "
                    "--workers if it dies again"
                ) from error
            if what == "error":
                raise value
            yield pipe, (what, value)


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


@final
class _Listening(Progress):
    """Tells the parent of tokens learnt, and stops when the parent has hung up."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def advance(self, amount: int) -> None:
        """Report tokens.

        Raises:
            Interrupted: The parent is gone or wants no more.
        """
        try:
            self._pipe.send(("tokens", amount))
            gone = self._pipe.poll()
        except OSError:
            gone = True
        if gone:
            raise Interrupted("the work was stopped")

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        yield self

    @override
    def note(self, message: str) -> None:
        pass


def _serve(pipe: Connection, open_bench: OpenBench) -> None:
    """Do jobs until the parent hangs up."""
    bench = None
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            bench = bench or open_bench(_Listening(pipe))
            answer: tuple[str, Any] = ("done", bench.do(job))
        except Interrupted:
            return
        except SaintError as error:
            answer = ("error", error)
        try:
            pipe.send(answer)
        except OSError:
            return


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
