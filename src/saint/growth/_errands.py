"""Parts of trials as jobs for workers: given out, checked, and doubted where nothing could be measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

from saint import records
from saint.errors import RefusedResultError
from saint.growth._checks import Checker
from saint.growth._journal import Journal
from saint.growth._trial import Leg, Trial
from saint.search import Crew, Job, Look, Role
from saint.training import Arrived, time_in

_MOST_CLAIMS = 4
"""Of failures, no two of them the same, before this process sees for itself."""


class Claim(NamedTuple):
    """What a worker says of a training that failed; that of a part that did not is measured."""

    worker: str
    failure: str
    train_tokens: int
    birth_tokens: int

    def agrees(self, other: "Claim") -> bool:
        """Whether another worker says the same."""
        return self.worker != other.worker and self[1:] == other[1:]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """A part of a trial that a worker is to train."""

    trial: Trial
    leg: Leg
    name: str
    """Of the job."""
    saved: Path
    """Where its checkpoint is kept."""
    then: Callable[[Arrived, str], None]
    """Called with what came of it, once that is found to be so, and the worker that it is from; "" for this process."""
    role: Role = Role.SEARCH
    carried_s: float = 0.0
    """Seconds that the parts before took."""
    may_be_begun: bool = True
    """Whether workers of an earlier coordinator may have left some of it."""
    claims: tuple[Claim, ...] = ()
    """Of workers that said that it fails."""

    @property
    def claimants(self) -> frozenset[str]:
        """Workers that said that it fails."""
        return frozenset(claim.worker for claim in self.claims)


def errand_for(
    trial: Trial, name: str, saved: Path, then: Callable[[Arrived, str], None], *, role: Role = Role.SEARCH
) -> Errand:
    """The whole of a trial."""
    return Errand(trial=trial, leg=Leg(), name=name, saved=saved, then=then, role=role)


MakeJob = Callable[[Errand], Job]


@final
class Errands:
    """What a batch of work has workers do."""

    def __init__(self, journal: Journal, crew: Crew, checker: Checker, make_job: MakeJob) -> None:
        """Describe them.

        Args:
            make_job: What workers are told of an errand.
        """
        self._journal, self._crew, self._checker, self._make_job = journal, crew, checker, make_job
        self._carried_s: dict[str, float] = {}  # by job
        self.names: list[str] = []
        """Of the jobs; those that follow from others are added when these are done."""

    def give(self, errand: Errand) -> None:
        """Have it done by and by."""
        job = self._make_job(errand)
        self._crew.submit([job], check=partial(self._check, errand), before=partial(self._look, errand))
        self.names.append(job.name)

    def _look(self, errand: Errand) -> None:
        """See how long it was trained for before the first worker has it: until then, earlier ones may be ending."""
        if errand.name not in self._carried_s:
            there_s = time_in(errand.saved) if errand.may_be_begun else 0.0
            self._carried_s[errand.name] = max(errand.carried_s, there_s)

    def _check(self, errand: Errand, job: Job, worker: str, answer: bytes) -> Look | None:
        most_s = self._carried_s[errand.name] + self._crew.seconds_of(job.name)
        with self._suspected(errand, job):
            arriving = self._checker.arriving(self._journal, errand.trial, errand.leg, answer, at_most_s=most_s)

        def look() -> bool:
            with self._suspected(errand, job):
                arrived = arriving()
            if arrived is not None:
                self._take(errand, arrived, worker)
            return arrived is not None

        return None if look() else look

    @contextmanager
    def _suspected(self, errand: Errand, job: Job) -> Iterator[None]:
        """Where an answer is not in order, what its worker went on from has to go: maybe that misled it."""
        try:
            yield
        except RefusedResultError:
            errand.saved.unlink(missing_ok=True)
            self._crew.queue.amend(replace(job, body=self._make_job(errand).body))
            raise

    def _take(self, errand: Errand, arrived: Arrived, worker: str) -> None:
        if arrived.trained.failure:
            self._doubt(errand, arrived, worker)
            return
        for claim in errand.claims:
            self._crew.refuse(claim.worker, f"it said that training failed ({claim.failure[:80]}), which it does not")
        errand.then(arrived, worker)

    def _doubt(self, errand: Errand, arrived: Arrived, worker: str) -> None:
        """A failure is no weights that could be measured: it counts once two workers come to the same.

        The second begins anew, so that nothing that the first has left can mislead it.
        """
        trained = arrived.trained
        claim = Claim(worker, trained.failure, trained.train_tokens, trained.birth_tokens)
        if any(claim.agrees(earlier) for earlier in errand.claims):
            errand.then(arrived, worker)
            return
        errand.saved.unlink(missing_ok=True)
        claims = (*errand.claims, claim)
        if len(claims) == _MOST_CLAIMS:
            errand.then(self._checker.done_here(self._journal, errand.trial, errand.leg), "")
            return
        self.give(
            replace(
                errand, name=records.digest({"again": errand.name}), claims=claims, carried_s=0.0, may_be_begun=False
            )
        )
