"""Which worker does what until when: jobs are leased, heartbeats renew leases, and what is lost is leased anew.

Nothing here waits or looks at a clock: the time is handed over, so that a simulation uses the same queue as a search.
"""

from bisect import insort
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, final

from saint.errors import WorkerError


class Role(StrEnum):
    """What a job is for; in this order they are leased."""

    SEARCH = "search"
    """A candidate is trained."""
    CONTROL = "control"
    """What the same tokens buy without grafts is trained."""
    VALIDATION = "validation"
    """What stands is measured again, by another process than the one that judged it."""
    CHECKING = "checking"
    """What was trained is measured again for the coordinator, by processes of its own."""


class Stage(StrEnum):
    """How far a job has come; judging what came of it is the business of the registry."""

    PROPOSED = "proposed"
    LEASED = "leased"
    RETURNED = "trained"
    """A worker says what came of it."""
    CHECKED = "measured"
    """The coordinator has measured that itself."""
    FAILED = "failed"


_OVER = (Stage.CHECKED, Stage.FAILED)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A piece of work that a worker does alone."""

    name: str
    """A digest of everything that decides what comes of it: the same work has the same name wherever it is proposed."""
    role: Role = Role.SEARCH
    group: str = ""
    """What it needs and shares with others, such as the blocks below a site: workers that have it are preferred."""
    label: str = ""
    """What it is, for people."""
    num_units: int | None = None
    """How many units of work it is; None where nobody knows."""
    body: Any = field(default=None, compare=False, repr=False)
    """What the worker is told: plain data that can be sent."""
    at_most_bytes: int | None = None
    """The most that an answer may take: a longer one is not read."""
    not_by: frozenset[str] = frozenset()
    """Workers who may not do it, as for one that somebody else is to confirm."""


class Lease(NamedTuple):
    """A job in the hands of one worker until a time."""

    job: Job
    worker: str
    token: int
    """Differs from that of every other lease: what comes with an old one is not heard."""
    until: float
    """Seconds, on the clock of whoever asks."""


@final
@dataclass(slots=True, eq=False)
class _Known:
    job: Job
    place: int
    stage: Stage = Stage.PROPOSED
    lease: Lease | None = None
    num_fruitless: int = 0
    """Leases lost one after the other, without a word of progress between them."""
    is_getting_on: bool = False


@final
class Queue:
    """The jobs of a search: asked for by workers, told what came of them, and checked.

    A lease that is not renewed in time is lost, and its job is leased to whoever asks next. Each job is checked once,
    however often it was leased and whoever answered first.
    """

    def __init__(self, *, lease_s: float, at_most_fruitless: int = 5) -> None:
        """Begin empty.

        Args:
            lease_s: Seconds that a lease lasts beyond the last heartbeat.
            at_most_fruitless: A job fails whose leases were lost so often in a row without any progress.

        Raises:
            WorkerError: A number is not positive.
        """
        if lease_s <= 0 or at_most_fruitless < 1:
            raise WorkerError(
                f"expected a lease of more than 0 seconds and at least 1 try, got {lease_s:g} and {at_most_fruitless}"
            )
        self._lease_s, self._at_most_fruitless = lease_s, at_most_fruitless
        self._known: dict[str, _Known] = {}
        self._waiting: dict[Role, dict[str, list[_Known]]] = {role: {} for role in Role}  # by group, oldest first
        self._confirming: list[_Known] = []  # those that wait and are not for everybody, oldest first
        self._leases: dict[int, _Known] = {}  # by token
        self._warm: dict[str, set[str]] = {}  # worker -> groups it has worked in
        self._owners: dict[str, int] = {}  # group -> how many workers have it
        self._given_up: list[_Known] = []
        self._num_tokens = 0
        self._num_proposed = 0
        self._num_open = 0
        self.num_lost = 0
        """Leases that were lost so far."""

    def propose(self, job: Job) -> bool:
        """Take a job in; returns False where it is in already and not over."""
        if job.name in self._known and self._known[job.name].stage not in _OVER:
            return False
        known = self._known[job.name] = _Known(job, place=self._num_proposed)
        self._num_proposed += 1
        self._num_open += 1
        self._wait(known)
        return True

    def ask(self, worker: str, *, now: float) -> Lease | None:
        """Lease a job to a worker; None where none waits.

        What is not for everybody comes first. Then, of the role that is leased first: the oldest job of a group that
        the worker has, else of a group that no worker has, else the oldest of all.
        """
        for known in self._confirming:
            if worker not in known.job.not_by:
                self._confirming.remove(known)
                self._warm.setdefault(worker, set())
                return self._lease(known, worker, now)
        for role in Role:
            groups = self._waiting[role]
            if not groups:
                continue
            warm = self._warm.setdefault(worker, set())
            group = (
                _oldest((name, groups[name]) for name in warm if name in groups)
                or _oldest(item for item in groups.items() if not self._owners.get(item[0]))
                or _oldest(iter(groups.items()))
            )
            assert group is not None  # there is one
            return self._lease(self._take(role, group), worker, now)
        return None

    @property
    def awaits_confirmation(self) -> bool:
        """Whether a job waits that is not for everybody."""
        return bool(self._confirming)

    def awaits_others_than(self, workers: Set[str]) -> bool:
        """Whether a job waits that none of these may do."""
        return any(workers <= known.job.not_by for known in self._confirming)

    def amend(self, job: Job) -> None:
        """Tell whoever does a job of this name next something else."""
        self._known[job.name].job = job

    def beat(self, token: int, *, now: float, progress: bool = True) -> bool:
        """Renew a lease; returns False where it was lost, so that the worker is to let go.

        Args:
            progress: Whether the worker has come further since.
        """
        known = self._leases.get(token)
        if known is None:
            return False
        assert known.lease is not None  # it is one of the leases
        known.lease = known.lease._replace(until=now + self._lease_s)
        known.is_getting_on = known.is_getting_on or progress
        return True

    def tell(self, token: int) -> Job | None:
        """Hear that a job is done; None where the lease was lost, and what comes with it must not be looked at."""
        known = self._leases.pop(token, None)
        if known is None:
            return None
        known.lease, known.stage = None, Stage.RETURNED
        return known.job

    def check(self, name: str) -> None:
        """What came of a job was found to be in order; it is over."""
        self._end(self._returned(name), Stage.CHECKED)

    def refuse(self, name: str) -> None:
        """What came of a job was not in order: it is leased anew."""
        self._again(self._returned(name))

    def fail(self, name: str) -> None:
        """A job cannot be done; it is over."""
        known = self._known[name]
        if known.stage in _OVER:
            return
        if known.lease is not None:
            del self._leases[known.lease.token]
            known.lease = None
        elif known in self._confirming:
            self._confirming.remove(known)
        elif known.stage is Stage.PROPOSED:
            waiting = self._waiting[known.job.role]
            waiting[known.job.group].remove(known)
            if not waiting[known.job.group]:
                del waiting[known.job.group]
        self._end(known, Stage.FAILED)

    def lose(self, worker: str) -> list[Job]:
        """A worker is gone: its leases are lost, and what it had is nobody's. Returns their jobs."""
        for group in self._warm.pop(worker, ()):
            self._owners[group] -= 1
        lost = [known.lease for known in self._leases.values() if known.lease and known.lease.worker == worker]
        return [self._lost(lease) for lease in lost]

    def expire(self, *, now: float) -> list[Lease]:
        """The leases that were not renewed in time, now lost."""
        late = [known.lease for known in self._leases.values() if known.lease and known.lease.until <= now]
        for lease in late:
            self._lost(lease)
        return late

    def hopeless(self) -> list[Job]:
        """Jobs that were leased as often as may be without coming any further; they have failed."""
        return [known.job for known in self._given_up if self._known[known.job.name] is known]

    def is_done(self, name: str) -> bool:
        """Whether a job is checked or has failed."""
        return self._known[name].stage in _OVER

    def stage_of(self, name: str) -> Stage:
        """How far a job has come."""
        return self._known[name].stage

    @property
    def is_over(self) -> bool:
        """Whether every job is checked or has failed."""
        return not self._num_open

    @property
    def leases(self) -> list[Lease]:
        """Those that are out, oldest first."""
        return [known.lease for _, known in sorted(self._leases.items()) if known.lease is not None]

    @property
    def counts(self) -> dict[Stage, int]:
        """How many jobs are how far."""
        stages = [known.stage for known in self._known.values()]
        return {stage: stages.count(stage) for stage in Stage}

    def _wait(self, known: _Known) -> None:
        if known.job.not_by:
            insort(self._confirming, known, key=lambda one: one.place)
            return
        insort(self._waiting[known.job.role].setdefault(known.job.group, []), known, key=lambda one: one.place)

    def _take(self, role: Role, group: str) -> _Known:
        waiting = self._waiting[role][group]
        known = waiting.pop(0)
        if not waiting:
            del self._waiting[role][group]
        return known

    def _lease(self, known: _Known, worker: str, now: float) -> Lease:
        group = known.job.group
        if group not in self._warm[worker]:
            self._warm[worker].add(group)
            self._owners[group] = self._owners.get(group, 0) + 1
        self._num_tokens += 1
        known.lease = Lease(known.job, worker, self._num_tokens, now + self._lease_s)
        known.stage, known.is_getting_on = Stage.LEASED, False
        self._leases[self._num_tokens] = known
        return known.lease

    def _lost(self, lease: Lease) -> Job:
        known = self._leases.pop(lease.token)
        self.num_lost += 1
        known.num_fruitless = 0 if known.is_getting_on else known.num_fruitless + 1
        self._again(known)
        return known.job

    def _again(self, known: _Known) -> None:
        known.lease = None
        if known.num_fruitless >= self._at_most_fruitless:
            self._end(known, Stage.FAILED)
            self._given_up.append(known)
            return
        known.stage = Stage.PROPOSED
        self._wait(known)

    def _returned(self, name: str) -> _Known:
        known = self._known[name]
        if known.stage is not Stage.RETURNED:
            raise WorkerError(f"job {name[:12]} is {known.stage}, expected one that was returned; it is checked once")
        return known

    def _end(self, known: _Known, stage: Stage) -> None:
        known.stage = stage
        known.job = replace(known.job, body=None)  # which may be large, and nobody is told of it any more
        self._num_open -= 1


def _oldest(groups: Iterator[tuple[str, list[_Known]]]) -> str | None:
    """The group whose first job was proposed first."""
    found = [(waiting[0].place, name) for name, waiting in groups]
    return min(found)[1] if found else None
