"""A coordinator's half of a search: leases jobs to workers, checks what they answer, and replaces those that are lost."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, final

from saint.errors import RefusedResultError, WorkerError
from saint.search._executor import Executor, Heard
from saint.search._queue import Job, Queue

_POLL_S = 0.2


@final
class Crew:
    """Workers that do jobs until all are checked. They are hired when there is work, and let go with the `with` block."""

    def __init__(
        self,
        executor: Executor,
        number: int,
        *,
        lease_s: float = 60.0,
        at_most_refused: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe it.

        Args:
            number: Workers.
            lease_s: Seconds without a word after which a worker is given up.
            at_most_refused: A worker's place is not filled again once so many answers from it were refused, nor once
                so many workers in a row died there before they were ready.
        """
        self._executor, self._number, self._lease_s = executor, number, lease_s
        self._at_most_refused, self._clock = at_most_refused, clock
        self._place_of: dict[str, int] = {}  # of a worker that lives
        self._idle: set[str] = set()
        self._proven: set[str] = set()  # those that have been ready
        self._faults = [0] * number  # of each place
        self._last_fault = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.close()

    def run(
        self,
        jobs: Sequence[Job],
        *,
        check: Callable[[Job, str, Any], None],
        tell: Callable[[Job | None, int], None],
        watch: Callable[[Queue], None] = lambda _: None,
    ) -> Queue:
        """Have every job done.

        Args:
            check: Called here with a job, a worker and what it says came of the job. Raises `RefusedResultError` where
                that is not in order: the job is leased anew, and the worker is replaced. Called with success once for
                each job.
            tell: Called with a job and how many units of work it came further, and now and then with None and 0; what
                it raises ends the work.
            watch: Called after each turn, for whoever looks on.

        Raises:
            WorkerError: No worker is left, or a job was lost as often as may be.
            SaintError: What a job raised on two workers.
        """
        queue = Queue(lease_s=self._lease_s)
        for job in jobs:
            queue.propose(job)
        failures: dict[str, int] = {}
        while not queue.is_over:
            self._hire()
            self._hand_out(queue)
            for heard in self._executor.hear(_POLL_S):
                self._take(heard, queue, failures, check, tell)
            for late in queue.expire(now=self._clock()):
                self._replace(late.worker, f"{late.worker} said nothing for {self._lease_s:g} s", queue)
            if hopeless := queue.hopeless():
                raise WorkerError(
                    f"job {hopeless[0].name[:12]} was lost with its worker again and again ({self._last_fault}), perhaps "
                    "for want of memory; run the same command again, with fewer --workers if that happens again"
                )
            tell(None, 0)
            watch(queue)
        return queue

    @property
    def workers(self) -> list[str]:
        """Those that live, by place."""
        return sorted(self._place_of, key=self._place_of.__getitem__)

    def _hire(self) -> None:
        """Fill the places that are empty and not closed."""
        taken = set(self._place_of.values())
        open_places = [place for place in range(self._number) if self._faults[place] < self._at_most_refused]
        if not open_places:
            raise WorkerError(f"no worker is left: {self._last_fault}")
        for place in open_places:
            if place not in taken:
                self._place_of[self._executor.hire()] = place

    def _hand_out(self, queue: Queue) -> None:
        for worker in [worker for worker in self.workers if worker in self._idle]:
            if (lease := queue.ask(worker, now=self._clock())) is None:
                return
            self._idle.discard(worker)
            self._executor.hand(lease)

    def _take(
        self,
        heard: Heard,
        queue: Queue,
        failures: dict[str, int],
        check: Callable[[Job, str, Any], None],
        tell: Callable[[Job | None, int], None],
    ) -> None:
        worker = heard.worker
        if worker not in self._place_of:
            return  # its place was given to another meanwhile
        if heard.what == "ready":
            self._idle.add(worker)
            self._proven.add(worker)
        elif heard.what == "beat":
            if queue.beat(heard.token, now=self._clock(), progress=heard.value > 0):
                tell(next((one.job for one in queue.leases if one.token == heard.token), None), heard.value)
        elif heard.what == "gone":
            self._replace(worker, f"{worker} died ({heard.value})", queue, is_fault=worker not in self._proven)
        elif (job := queue.tell(heard.token)) is None:
            self._replace(worker, f"{worker} answered for a lease that it does not hold", queue)
        elif heard.what == "error":
            self._idle.add(worker)
            failures[job.name] = failures.get(job.name, 0) + 1
            if failures[job.name] > 1:
                raise heard.value
            queue.refuse(job.name)
        else:
            try:
                check(job, worker, heard.value)
            except RefusedResultError as error:
                queue.refuse(job.name)
                self._replace(worker, f"{worker}: {error}", queue)
            else:
                queue.check(job.name)
                self._idle.add(worker)

    def _replace(self, worker: str, why: str, queue: Queue, *, is_fault: bool = True) -> None:
        """End a worker and lease anew what it had; its place is filled in the next turn."""
        place = self._place_of.pop(worker)
        self._idle.discard(worker)
        self._executor.dismiss(worker)
        queue.lose(worker)
        self._last_fault = why
        self._faults[place] += is_fault
