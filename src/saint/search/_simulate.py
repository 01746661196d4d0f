"""A search on a cluster that does not exist: the queue that a search has, driven in time that nobody waits for."""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import NamedTuple, final

from saint.errors import ConfigError, WorkerError
from saint.search._queue import Job, Lease, Queue

_MOST_LIVES = 5.0  # of a worker, in one trial: e^5 = 148 would begin it
_MOST_WORKERS, _MOST_MESSAGES = 20_000, 20_000_000
_EXPIRE_EVERY_S = 1.0
"""How often leases are looked through: fine beside their length, and cheap to simulate."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is searched: rounds of trials, at whose end some of what came of them is judged."""

    trial_s: tuple[float, ...]
    """Seconds that trials take a worker; each takes one of these, drawn by chance."""
    num_rounds: int
    candidates: int
    """Trials of a round."""
    finalists: int
    """Judged at the end of a round, one after the other."""
    num_groups: int = 8
    """Groups that the trials of a round belong to in turn."""

    def __post_init__(self) -> None:
        """Refuse what is no work."""
        if not self.trial_s or not all(0 < seconds < inf for seconds in self.trial_s):
            raise ConfigError(f"trials take {self.trial_s} s; expected numbers above 0")
        for name in ("num_rounds", "candidates", "num_groups"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.finalists <= self.candidates:
            raise ConfigError(
                f"finalists is {self.finalists}; expected 0 to {self.candidates}, the candidates of a round"
            )

    @property
    def mean_trial_s(self) -> float:
        """Seconds that a trial takes on average."""
        return sum(self.trial_s) / len(self.trial_s)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Seconds for which the coordinator does nothing else. They are to be measured; none has a default but zero."""

    lease_s: float
    """To lease a trial and to check it off: the turns of the loop that see to both."""
    beat_s: float
    """To hear a heartbeat."""
    answer_s: float
    """To read what came of a trial and look whether it is well formed."""
    measure_s: float
    """To measure what came of a trial again, on development text or the share of it that is spot-checked. Checkers do
    it where there are any, and the coordinator hands it to them and hears of it."""
    append_s: float
    """To write what came of a trial to the ledger."""
    judge_s: float
    """To measure and judge a finalist."""
    round_s: float = 0.0
    """To begin and to end a round: its map, what is proposed, what is measured of the stack."""
    latency_s: float = 0.0
    """From a worker to the coordinator, or back; neither is busy meanwhile."""

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        for name in self.__slots__:
            if not 0 <= getattr(self, name) < inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected seconds, at least 0")

    def per_trial_s(self, num_checkers: int = 0) -> float:
        """For one trial, without its heartbeats: more trials than one in so many seconds cannot be checked."""
        own = self.lease_s + self.answer_s + self.append_s
        return max(own + self.lease_s, self.measure_s / num_checkers) if num_checkers else own + self.measure_s


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Workers, how long they live, and when they are given up."""

    num_workers: int
    num_checkers: int = 0
    """Processes beside the coordinator that measure again for it; 0 where it measures itself."""
    start_s: float = 20.0
    """From when a worker is hired until it can work."""
    life_s: float = inf
    """Mean time between failures of a worker. It fails without a word: the coordinator knows when the lease ends, what
    it had is done again from the beginning, and a worker is hired in its place."""
    beat_every_s: float = 10.0
    lease_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.num_workers < 1:
            raise ConfigError(f"expected at least 1 worker, got {self.num_workers}")
        if self.num_workers > _MOST_WORKERS:
            raise ConfigError(
                f"expected at most {_MOST_WORKERS:,} workers, which take minutes, got {self.num_workers:,}"
            )
        if self.num_checkers < 0:
            raise ConfigError(f"expected at least 0 checkers, got {self.num_checkers}")
        if not (self.start_s >= 0 and self.life_s > 0 and 0 < self.beat_every_s < self.lease_s):
            raise ConfigError(
                f"expected a start of at least 0 s, a life above 0 s and heartbeats more often than a lease lasts, got "
                f"{self.start_s:g}, {self.life_s:g}, and one every {self.beat_every_s:g} s in {self.lease_s:g} s"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """What a search would take."""

    num_workers: int
    num_trials: int
    """Checked, each once."""
    num_lost: int
    """Leases that came to nothing."""
    makespan_s: float
    """From when the first worker is hired until the last round is closed."""
    useful_s: float
    """That workers trained for trials whose end was checked."""
    lost_s: float
    """That workers trained in leases that came to nothing."""
    busy_s: Mapping[str, float] = field(default_factory=dict)
    """What the coordinator did -> for how long."""

    @property
    def utilisation(self) -> float:
        """The share of all workers' time in which they trained what was checked."""
        return self.useful_s / (self.num_workers * self.makespan_s)

    @property
    def trials_per_hour(self) -> float:
        """Of the whole cluster."""
        return 3600 * self.num_trials / self.makespan_s

    @property
    def coordinator_share(self) -> float:
        """The share of the time in which the coordinator was busy, rounds' ends included."""
        return sum(self.busy_s.values()) / self.makespan_s

    @property
    def barrier_share(self) -> float:
        """The share of the time in which finalists were judged, rounds began or ended, and all waited."""
        return (self.busy_s.get("judge", 0.0) + self.busy_s.get("round", 0.0)) / self.makespan_s


def simulate(cluster: Cluster, costs: Costs, *works: Work, seed: int = 0) -> Simulated:
    """Let a cluster do one work after the other, with the queue that a search has, in the order of a search's loop.

    In each turn whoever is idle is leased a trial, all that has arrived meanwhile is heard in its order, each message
    for as long as it keeps the coordinator busy, and leases that ran out are lost. The same arguments give the same
    result; what a trial takes and how long a worker lives depends on the seed and on which one it is alone, so that
    other workers and other failures do not change it.

    Raises:
        ConfigError: It is more than can be simulated, or workers do not live long enough for a trial.
        WorkerError: They do not come to a heartbeat.
    """
    longest = max((max(work.trial_s) for work in works), default=0.0)
    if longest > _MOST_LIVES * cluster.life_s:
        raise ConfigError(
            f"a trial of {longest:g} s would be begun again and again by workers that live for {cluster.life_s:g} s on "
            f"average; expected a life of at least {longest / _MOST_LIVES:g} s, so give shorter trials"
        )
    num_messages = sum(
        work.num_rounds * work.candidates * (1 + work.mean_trial_s / cluster.beat_every_s) for work in works
    )
    if num_messages > _MOST_MESSAGES:
        raise ConfigError(
            f"{num_messages:,.0f} messages would be simulated for hours; expected at most {_MOST_MESSAGES:,}, so give "
            "fewer or shorter trials"
        )
    run = _Run(cluster, costs, seed)
    for place, work in enumerate(works):
        for number in range(work.num_rounds):
            run.round(work, f"{place}/{number}")
    return run.told()


class _Event(NamedTuple):
    """Something that arrives at the coordinator."""

    time: float
    order: int
    """Among those of one time."""
    worker: str
    what: str
    token: int


class _Attempt(NamedTuple):
    """A lease as the worker has it."""

    token: int
    start: float
    end: float


@final
class _Run:
    def __init__(self, cluster: Cluster, costs: Costs, seed: int) -> None:
        self._cluster, self._costs, self._seed = cluster, costs, seed
        self._times: tuple[float, ...] = ()  # that trials of this round take
        self._queue = Queue(lease_s=cluster.lease_s)
        self._now = 0.0
        self._next_expiry = _EXPIRE_EVERY_S
        self._events: list[_Event] = []
        self._idle: dict[str, None] = {}  # in the order in which they became so
        self._dies: dict[str, float] = {}  # of a worker that was not given up
        self._attempts: dict[str, _Attempt] = {}
        self._busy: dict[str, float] = defaultdict(float)
        self._num_hired = self._num_events = self._num_trials = 0
        self._useful = self._lost = 0.0
        self._free_at = [0.0] * cluster.num_checkers  # a heap
        self._looked_at: dict[int, tuple[Job, _Attempt]] = {}  # by token
        for _ in range(cluster.num_workers):
            self._hire()

    def told(self) -> Simulated:
        return Simulated(
            num_workers=self._cluster.num_workers,
            num_trials=self._num_trials,
            num_lost=self._queue.num_lost,
            makespan_s=self._now,
            useful_s=self._useful,
            lost_s=self._lost,
            busy_s=dict(self._busy),
        )

    def round(self, work: Work, name: str) -> None:
        costs, queue, self._times = self._costs, self._queue, work.trial_s
        for place in range(work.candidates):
            queue.propose(Job(name=f"{name}/{place}", group=f"{place % work.num_groups}"))
        while not queue.is_over:
            self._hand_out()
            while self._hear():  # what was said while the coordinator was busy counts before anybody is called late
                self._hand_out()
            self._expire()
        if hopeless := queue.hopeless():
            raise WorkerError(
                f"{len(hopeless)} of {work.candidates} trials were lost again and again; workers that live for "
                f"{self._cluster.life_s:g} s do not come to a heartbeat, so give them longer"
            )
        self._spend("judge", work.finalists * costs.judge_s)
        self._spend("round", costs.round_s)

    def _spend(self, what: str, seconds: float) -> None:
        self._now += seconds
        self._busy[what] += seconds

    def _hand_out(self) -> None:
        for worker in list(self._idle):
            if (lease := self._queue.ask(worker, now=self._now)) is None:
                return
            del self._idle[worker]
            self._spend("lease", self._costs.lease_s)
            self._begin(worker, lease)

    def _begin(self, worker: str, lease: Lease) -> None:
        start = self._now + self._costs.latency_s
        end = start + self._times[int(self._chance("trial", lease.job.name) * len(self._times))]
        self._attempts[worker] = _Attempt(lease.token, start, end)
        self._beat_at(worker, start + self._cluster.beat_every_s)
        if end < self._dies[worker]:
            self._arrive(end, worker, "done", lease.token)

    def _beat_at(self, worker: str, time: float) -> None:
        if time < min(self._attempts[worker].end, self._dies[worker]):
            self._arrive(time, worker, "beat", self._attempts[worker].token)

    def _hear(self) -> bool:
        """Take in all that has arrived; where nothing has, wait until something does or a lease may have run out.

        Returns:
            Whether more has arrived meanwhile.
        """
        first = self._events[0].time if self._events else inf
        self._now = max(self._now, min(first, self._next_expiry))
        arrived = []
        while self._has_arrived:
            arrived.append(event := heapq.heappop(self._events))
            if event.what == "beat" and event.worker in self._dies:
                self._beat_at(event.worker, event.time - self._costs.latency_s + self._cluster.beat_every_s)
        for event in arrived:
            if event.worker in self._dies or event.what == "looked":
                self._take(event)
        return self._has_arrived

    @property
    def _has_arrived(self) -> bool:
        return bool(self._events) and self._events[0].time <= self._now

    def _take(self, event: _Event) -> None:
        worker = event.worker
        if event.what == "ready":
            self._idle[worker] = None
        elif event.what == "beat":
            self._spend("beat", self._costs.beat_s)
            self._queue.beat(event.token, now=self._now)
        elif event.what == "looked":
            self._spend("append", self._costs.append_s)
            self._check(*self._looked_at.pop(event.token))
        else:
            job, attempt = self._queue.tell(event.token), self._attempts.pop(worker)
            assert job is not None  # a worker whose lease was lost was given up with it
            self._spend("answer", self._costs.answer_s)
            if self._free_at:
                self._have_looked_at(worker, job, attempt)
            else:
                self._spend("measure", self._costs.measure_s)
                self._spend("append", self._costs.append_s)
                self._check(job, attempt)
            self._idle[worker] = None

    def _have_looked_at(self, worker: str, job: Job, attempt: _Attempt) -> None:
        """Hand what came of a job to the checker that is free first."""
        self._spend("lease", self._costs.lease_s)
        done = max(self._now, self._free_at[0]) + self._costs.measure_s
        heapq.heapreplace(self._free_at, done)
        self._looked_at[attempt.token] = job, attempt
        self._arrive(done, worker, "looked", attempt.token)

    def _check(self, job: Job, attempt: _Attempt) -> None:
        self._queue.check(job.name)
        self._num_trials += 1
        self._useful += attempt.end - attempt.start

    def _expire(self) -> None:
        if self._now < self._next_expiry:
            return
        self._next_expiry = self._now + _EXPIRE_EVERY_S
        for late in self._queue.expire(now=self._now):
            attempt = self._attempts.pop(late.worker)
            until = min(self._now, attempt.end, self._dies.pop(late.worker))
            self._lost += max(0.0, until - attempt.start)
            self._queue.lose(late.worker)
            self._hire()

    def _hire(self) -> None:
        worker = f"w{self._num_hired}"
        self._num_hired += 1
        ready = self._now + self._cluster.start_s
        self._dies[worker] = ready + self._life(worker)
        self._arrive(ready, worker, "ready", 0)

    def _life(self, worker: str) -> float:
        """Exponential: how long it has lived says nothing about how long it will."""
        return inf if self._cluster.life_s == inf else -self._cluster.life_s * log(1 - self._chance("life", worker))

    def _arrive(self, time: float, worker: str, what: str, token: int) -> None:
        """Say something, which is heard when it has come over."""
        self._num_events += 1
        delay = 0.0 if what in ("ready", "looked") else self._costs.latency_s
        heapq.heappush(self._events, _Event(time + delay, self._num_events, worker, what, token))

    def _chance(self, *about: str) -> float:
        """A number from 0 up to 1 that only the seed and what it is about decide."""
        named = "/".join((str(self._seed), *about)).encode()
        return int.from_bytes(hashlib.blake2b(named, digest_size=7).digest()) / (1 << 56)
