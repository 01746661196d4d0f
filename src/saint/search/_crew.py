"""A coordinator's half of a search: leases jobs, checks what workers answer, and replaces those that are lost."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Self, final

from saint.errors import RefusedResultError, SaintError, WorkerError
from saint.search._executor import Executor, Heard
from saint.search._queue import Job, Queue, Role
from saint.search._roster import Effort, Worker

_POLL_S = 0.2
_POLL_OPEN_S = 0.02  # while answers are being looked at elsewhere
_AT_MOST_OPEN = 4  # answers for each worker that are being looked at: whoever looks sets the pace then
_AT_MOST_REFUSED = 3
_AT_MOST_STILLBORN = 10  # where workers are killed at random, several in a row are before they were ready
_AT_MOST_FRUITLESS = 8
_STARTING_S = 600.0
_NUM_SAID = 10

Look = Callable[[], bool]
"""Whether an answer that is being looked at is known to be in order; raises `RefusedResultError` where it is not."""
Check = Callable[[Job, str, bytes], Look | None]
Tell = Callable[[Job | None, int], None]


@final
class Crew:
    """Workers that do jobs until all are checked; hired when there is work, and let go with the `with` block."""

    def __init__(
        self,
        executor: Executor,
        number: int,
        *,
        lease_s: float = 60.0,
        greet: Callable[[str, bytes], None] = lambda _worker, _hello: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe it.

        Args:
            number: Workers.
            lease_s: Seconds without a word after which a worker is given up.
            greet: Called with a worker and who it says it is before it is given any work; raises a `SaintError` where
                it is none of ours. That ends everything if nobody was one of ours before.

        Raises:
            WorkerError: The number is not positive.
        """
        if number < 1:
            raise WorkerError(f"expected at least 1 worker, got {number}")
        self.queue = Queue(lease_s=lease_s, at_most_fruitless=_AT_MOST_FRUITLESS)
        self.is_paused = False
        """Whether no more jobs are leased; what is leased goes on."""
        self.num_lost = 0
        """Workers that were lost."""
        self.num_refused = 0
        """Answers that were not in order."""
        self.said: deque[str] = deque(maxlen=_NUM_SAID)
        """The last sentences about what went wrong."""
        self._executor, self._number, self._lease_s = executor, number, lease_s
        self._greet, self._clock = greet, clock
        self._workers: dict[str, Worker] = {}
        self._refused, self._stillborn = [0] * number, [0] * number  # by place
        self._is_proven = False
        self._checks: dict[str, Check] = {}
        self._open: list[tuple[Job, str, Look]] = []  # answers that are being looked at, and whose they are
        self._befores: dict[str, Callable[[], None]] = {}
        self._failures: dict[str, int] = {}
        self._efforts: dict[Role, Effort] = {}
        self._seconds: dict[str, float] = {}  # by job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.close()

    @property
    def number(self) -> int:
        """How many work where none is lost."""
        return self._number

    @property
    def clock(self) -> Callable[[], float]:
        """What it reads the time from."""
        return self._clock

    @property
    def workers(self) -> list[Worker]:
        """Those that live, by place."""
        return sorted(self._workers.values(), key=lambda worker: worker.place)

    @property
    def efforts(self) -> Mapping[Role, Effort]:
        """Role -> what its jobs took so far."""
        return MappingProxyType(self._efforts)

    def hello_of(self, worker: str) -> bytes:
        """Who a worker that lives has said it is."""
        return self._workers[worker].hello

    def seconds_of(self, job: str) -> float:
        """How long workers have had a job of this name, from each lease to the answer or its loss."""
        return self._seconds.get(job, 0.0)

    def refuse(self, worker: str, why: str) -> None:
        """Replace a worker whose answer, taken before, turned out not to be in order; one that is gone is no matter."""
        if (found := self._workers.get(worker)) is not None:
            self._refuse(found, why)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        check: Check,
        tell: Tell = lambda _job, _units: None,
        watch: Callable[["Crew"], None] = lambda _crew: None,
    ) -> None:
        """Have every job done; the arguments and errors are those of `submit` and `finish`."""
        self.submit(jobs, check=check)
        self.finish([job.name for job in jobs], tell=tell, watch=watch)

    def submit(self, jobs: Sequence[Job], *, check: Check, before: Callable[[], None] | None = None) -> None:
        """Take jobs in; they are done by and by while `finish` waits for these or others.

        Args:
            check: Called here with a job, a worker and what it says came of the job. Raises `RefusedResultError` where
                that is not in order: the job is leased anew, and the worker is replaced. Called with success once for
                each job. Where looking takes others a while, it returns what is asked in every turn until they know.
            before: Called each time before one of them is given to a worker.
        """
        for job in jobs:
            if self.queue.propose(job):
                self._checks[job.name] = check
                if before is not None:
                    self._befores[job.name] = before
                self._failures.pop(job.name, None)

    def finish(
        self,
        names: Sequence[str] | None = None,
        *,
        tell: Tell = lambda _job, _units: None,
        watch: Callable[["Crew"], None] = lambda _crew: None,
    ) -> None:
        """Wait until jobs are done, and those that their checks submit.

        Args:
            names: Of the jobs, to which checks may add; None for all.
            tell: Called with a job and how many units of work it came further, and now and then with None and 0; what
                it raises ends the work.
            watch: Called after each turn, for whoever looks on.

        Raises:
            WorkerError: No worker is left, or a job was lost again and again.
            SaintError: What a job raised twice, or why no worker is one of ours.
        """
        num_over = 0
        while not self.queue.is_over if names is None else num_over < len(names):
            if names is not None and self.queue.is_done(names[num_over]):
                num_over += 1
                continue
            self.turn(tell=tell)
            watch(self)

    def turn(self, *, patience_s: float = _POLL_S, tell: Tell = lambda _job, _units: None) -> None:
        """Give out what waits, hear what there is to hear, and give up who says nothing; the errors are of `finish`.

        Args:
            patience_s: Seconds to wait for something to hear.
        """
        if not self.queue.is_over:
            self._hire()
            self._hand_out()
        if self._open:
            patience_s = min(patience_s, _POLL_OPEN_S)
        self._hear(patience_s, tell)
        listened = self._clock()
        self._hear(0.0, tell)  # checking takes a while: what was said meanwhile comes before who is late
        self._look_again()
        self._give_up_the_late(now=listened)  # what was said since is yet to be heard
        if hopeless := self.queue.hopeless():
            raise WorkerError(
                f"job {hopeless[0].name[:12]} was lost with its worker again and again ({self._last}), perhaps for "
                "want of memory; run the same command again, with fewer --workers if that happens again"
            )
        tell(None, 0)

    def _hear(self, patience_s: float, tell: Tell) -> None:
        for one in list(self._executor.hear(patience_s)):
            self._take(one, tell)

    @property
    def _last(self) -> str:
        return self.said[-1] if self.said else "nobody knows why"

    def _hire(self) -> None:
        """Fill the places that are empty and not closed, as far as there is work for them."""
        taken = {worker.place for worker in self._workers.values()}
        open_places = [
            place
            for place in range(self._number)
            if self._refused[place] < _AT_MOST_REFUSED and self._stillborn[place] < _AT_MOST_STILLBORN
        ]
        if not open_places:
            raise WorkerError(f"no worker is left: {self._last}")
        for place in open_places:
            if place not in taken:
                name = self._executor.hire()
                self._workers[name] = Worker(name, place, self._clock())

    def _hand_out(self) -> None:
        if self.is_paused or len(self._open) >= _AT_MOST_OPEN * self._number:
            return
        for worker in self.workers:
            if worker.state != "idle":
                continue
            if (lease := self.queue.ask(worker.name, now=self._clock())) is None:
                if not self.queue.awaits_confirmation:
                    return
                self._make_room(worker)
                continue
            if (before := self._befores.get(lease.job.name)) is not None:
                before()
            worker.state, worker.lease, worker.since, worker.units = "busy", lease, self._clock(), 0
            self._executor.hand(lease)

    def _make_room(self, idle: Worker) -> None:
        """Let a worker go where all that live may not do what waits: another takes its place."""
        if self.queue.awaits_others_than(set(self._workers)):
            del self._workers[idle.name]
            self._executor.dismiss(idle.name)
            self.queue.lose(idle.name)

    def _take(self, heard: Heard, tell: Tell) -> None:
        if (worker := self._workers.get(heard.worker)) is None:
            return  # its place was given to another meanwhile
        if heard.what == "gone":
            self._lose(worker, f"{worker.name}: {heard.value}")
        elif worker.state == "starting":
            self._begin(worker, heard)
        elif heard.what == "beat":
            if worker.lease is not None and self._holds(worker, heard.token):
                self.queue.beat(heard.token, now=self._clock(), progress=heard.value > 0)
                worker.units += heard.value
                tell(worker.lease.job, heard.value)
        elif worker.lease is None or not self._holds(worker, heard.token):
            self._refuse(worker, "it answered for a lease that it does not hold")
        else:
            self.queue.tell(heard.token)
            self._answer(worker, worker.lease.job, heard)

    @staticmethod
    def _holds(worker: Worker, token: int) -> bool:
        return worker.lease is not None and worker.lease.token == token

    def _begin(self, worker: Worker, heard: Heard) -> None:
        if heard.what == "waiting":
            worker.since = self._clock()
        elif heard.what == "ready":
            self._welcome(worker, heard.value)
        elif heard.what == "error":
            self._turn_away(worker, heard.value)
        else:
            self._refuse(worker, "it spoke before it was ready")

    def _answer(self, worker: Worker, job: Job, heard: Heard) -> None:
        if heard.what == "error" and isinstance(heard.value, RefusedResultError):
            self.queue.refuse(job.name)
            self._refuse(worker, str(heard.value))
        elif heard.what == "error":
            self._failed(worker, job, heard.value)
        elif heard.what == "done":
            self._check(worker, job, heard.value)
        else:
            self.queue.refuse(job.name)
            self._refuse(worker, "it was ready in the middle of a job")

    def _welcome(self, worker: Worker, hello: bytes) -> None:
        try:
            self._greet(worker.name, hello)
        except SaintError as error:
            self._turn_away(worker, error)
            return
        worker.state, worker.hello, worker.since = "idle", hello, self._clock()
        self._stillborn[worker.place] = 0
        self._is_proven = True

    def _turn_away(self, worker: Worker, error: SaintError) -> None:
        """One that could not begin, or is none of ours."""
        if not self._is_proven:
            raise error
        self._lose(worker, f"{worker.name} was turned away: {error}")

    def _failed(self, worker: Worker, job: Job, error: SaintError) -> None:
        """A job ended with an error, maybe for what is wrong with its worker."""
        self._failures[job.name] = self._failures.get(job.name, 0) + 1
        if self._failures[job.name] > 1:
            raise error
        self.queue.refuse(job.name)
        self._lose(worker, f"{worker.name} failed at {job.label or job.name[:12]}: {error}")

    def _check(self, worker: Worker, job: Job, answer: bytes) -> None:
        self._spend(worker, done=1)
        worker.state, worker.lease, worker.since = "idle", None, self._clock()
        self._hand_out()  # so that it need not wait while its answer is looked at
        try:
            if look := self._checks[job.name](job, worker.name, answer):
                self._open.append((job, worker.name, look))
                return
        except RefusedResultError as error:
            self._refuse_answer(job, worker.name, error)
            return
        self._accept(job, worker.name)

    def _look_again(self) -> None:
        """Ask of the answers that are being looked at."""
        asked, self._open = self._open, []
        for job, worker, look in asked:
            try:
                if look():
                    self._accept(job, worker)
                else:
                    self._open.append((job, worker, look))
            except RefusedResultError as error:
                self._refuse_answer(job, worker, error)

    def _accept(self, job: Job, worker: str) -> None:
        del self._checks[job.name]
        self._befores.pop(job.name, None)
        self.queue.check(job.name)
        if worker in self._workers:
            self._workers[worker].num_done += 1

    def _refuse_answer(self, job: Job, worker: str, error: RefusedResultError) -> None:
        """Nothing came of a job; who answered may work at another meanwhile, which is lost with it, or be gone."""
        self._spend_again(job)
        self.queue.refuse(job.name)
        if worker in self._workers:
            self._refuse(self._workers[worker], str(error))
        else:
            self.num_refused += 1
            self.said.append(f"what {worker} had answered was refused: {error}")

    def _refuse(self, worker: Worker, why: str) -> None:
        self.num_refused += 1
        self._refused[worker.place] += 1
        self._lose(worker, f"what {worker.name} answered was refused: {why}")

    def _give_up_the_late(self, *, now: float) -> None:
        for late in self.queue.expire(now=now):
            self._lose(self._workers[late.worker], f"{late.worker} said nothing for {self._lease_s:g} s")
        for worker in self.workers:
            if worker.state == "starting" and now - worker.since > _STARTING_S:
                self._lose(worker, f"{worker.name} was not ready after {_STARTING_S:g} s")

    def _lose(self, worker: Worker, why: str) -> None:
        """End a worker and lease anew what it had; its place is filled in the next turn."""
        if worker.state == "starting":
            self._stillborn[worker.place] += 1
        if worker.lease is not None:
            self._spend(worker)
        del self._workers[worker.name]
        self._executor.dismiss(worker.name)
        self.queue.lose(worker.name)
        self.num_lost += 1
        self.said.append(why)

    def _spend(self, worker: Worker, *, done: int = 0) -> None:
        assert worker.lease is not None  # it has worked
        role, name = worker.lease.job.role, worker.lease.job.name
        self._seconds[name] = self.seconds_of(name) + self._clock() - worker.since
        so_far = self._efforts.get(role, Effort())
        self._efforts[role] = Effort(
            done=so_far.done + done,
            seconds=so_far.seconds + self._clock() - worker.since,
            units=so_far.units + worker.units,
        )

    def _spend_again(self, job: Job) -> None:
        """What was done of a job was nothing; what it took was spent all the same."""
        so_far = self._efforts[job.role]
        self._efforts[job.role] = replace(so_far, done=so_far.done - 1)
