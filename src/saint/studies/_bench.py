"""The work of a study: candidates are trained to the end, measured, and what came of each is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from math import log
from pathlib import Path
from typing import Any, final

from saint import discovery, records
from saint.composition import compose
from saint.data import Splits, open_splits
from saint.evaluation import Losses
from saint.grafts import Graft, Kind
from saint.models import FrozenBase, freeze
from saint.progress import Progress, Silent
from saint.records import Candidate
from saint.search import Result, Store, code_digest, defining_digest
from saint.sensitivity import Map, measure_sensitivities
from saint.studies._plan import StudyPlan
from saint.studies._sets import SetJob, SetPlan, do_sets
from saint.training import Schedule, Trained, Workspace, train_many

_PACKAGES = ("saint-g", "torch", "transformers")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Materials:
    """Where a study finds what it works on."""

    base: str
    """Folder or hub name."""
    data: Path
    """Prepared splits."""
    cells: Path


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Candidates that are trained by one call."""

    candidates: tuple[Candidate, ...]


@final
class Bench:
    """Base, text and settings of a study in one process."""

    def __init__(self, materials: Materials, plan: StudyPlan, progress: Progress | None = None) -> None:
        self.base: FrozenBase = freeze(materials.base)
        self.data: Splits = open_splits(materials.data)
        self.plan, self.store = plan, Store(materials.cells)
        self._progress = progress or Silent()
        self.losses = Losses(seq_len=plan.evaluation_seq_len)

    def digest(self, candidate: Candidate) -> str:
        """The name of a candidate's result: a digest of everything that decides it, the code included."""
        return records.digest(
            {
                "base": self.base.digest,
                "candidate": candidate,
                "kind": defining_digest(discovery.find("grafts", candidate.kind, Kind)),
                "schedule": self.plan.schedule,
                "text": self._texts(),
                "seq_len": self.plan.evaluation_seq_len,
                "code": code(),
            }
        )

    def result(self, candidate: Candidate) -> Result | None:
        """What came of a candidate, if an earlier run has trained it."""
        return self.store.read(self.digest(candidate))

    def do(self, job: Cohort | SetJob) -> Result:
        """Train and measure what is missing of a job."""
        if isinstance(job, SetJob):
            return self.store.once(self.name_of(job), partial(do_sets, self, job))
        return self._do_cohort(job)

    def _do_cohort(self, job: Cohort) -> Result:
        """Each result is on the disk before the next is measured."""
        missing = [candidate for candidate in job.candidates if self.result(candidate) is None]
        for trained in self.train(missing, checkpoint_of=self._checkpoint) if missing else ():
            name = self.digest(trained.candidate)
            self.store.write(name, self._measured(trained.graft) if trained.graft else {"failure": trained.failure})
            self.store.checkpoint(name).unlink(missing_ok=True)
        return {}

    def name_of(self, job: SetJob) -> str:
        """The name of what comes of a job."""
        return records.digest({"job": job, "sets": self.plan.sets, "of": [self.digest(one) for one in job.candidates]})

    @property
    def schedule(self) -> Schedule:
        """Of a candidate's training."""
        return self.plan.schedule

    @property
    def sets(self) -> SetPlan:
        """How sets are made."""
        assert self.plan.sets is not None  # there are no such jobs otherwise
        return self.plan.sets

    def bare(self) -> Result:
        """The base as it is: nats of each document of the held-out text, and bits per byte on *select*."""
        about = {"base": self.base.digest, "text": self._texts(), "seq_len": self.plan.evaluation_seq_len}
        about |= {"select_seq_len": self.plan.schedule.seq_len, "code": code()}
        return self.store.once(records.digest(about), self._measure_bare)

    def scores(self) -> dict[str, dict[str, float]]:
        """Map -> site key -> score; measured once, for another number of threads may round otherwise."""
        plan, schedule = self.plan, self.plan.schedule
        settings: dict[str, Any] = {
            "num_batches": plan.num_batches,
            "batch_size": schedule.batch_size,
            "seq_len": schedule.seq_len,
            "seed": plan.seed,
        }
        digests = {name: defining_digest(discovery.find("sensitivity", name, Map)) for name in plan.methods}
        about = {"maps": digests, **settings, "base": self.base.digest, "text": self.data.train.digest, "code": code()}

        def measure() -> dict[str, Any]:
            found = measure_sensitivities(self.base, self.data.train, plan.methods, progress=self._progress, **settings)
            return {name: one.scores for name, one in found.items()}

        return self.store.once(records.digest(about), measure)

    def train(
        self,
        candidates: Sequence[Candidate],
        *,
        stack: Sequence[Graft] = (),
        schedule: Schedule | None = None,
        starts: Mapping[str, Graft] | None = None,
        checkpoint_of: Callable[[Candidate], Path | None] = lambda _: None,
    ) -> list[Trained]:
        """Each candidate on the bare base or a stack, in their order."""
        return train_many(
            self.base,
            stack,
            candidates,
            self.data.train,
            select=self.data.select[self.data.grown_domain],
            schedule=schedule or self.plan.schedule,
            starts=starts,
            work=Workspace(checkpoint_of=checkpoint_of, progress=self._progress),
        )

    def measured(self, stack: Sequence[Graft], *, train_tokens: int) -> Result:
        """What a stack costs, and what base and stack pay for each document of the held-out text."""
        return {
            "num_params": sum(graft.num_params for graft in stack),
            "train_tokens": train_tokens,
            "held_out": self.losses.measure(compose(self.base, stack), self.data.held_out).tolist(),
        }

    def _measured(self, graft: Graft) -> Result:
        assert graft.history is not None  # it was just trained
        about = self.measured([graft], train_tokens=graft.history.train_tokens)
        return {**about, "select_bpb": records.to_plain(graft.history.select_bpb)}

    def _checkpoint(self, candidate: Candidate) -> Path:
        return self.store.checkpoint(self.digest(candidate))

    def _measure_bare(self) -> Result:
        select = self.data.select[self.data.grown_domain]
        nats = Losses(seq_len=self.plan.schedule.seq_len).measure(self.base.model, select)
        return {
            "select_bpb": float(nats.sum()) / log(2) / select.num_bytes,
            "held_out": self.losses.measure(self.base.model, self.data.held_out).tolist(),
        }

    def _texts(self) -> list[str]:
        data = self.data
        return [text.digest for text in (data.train, data.select[data.grown_domain], data.held_out)]


@cache
def code() -> dict[str, str]:
    """What decides a study's results beside the plan and what it names."""
    return {
        **{name: version(name) for name in _PACKAGES},
        "source": code_digest(("studies/_bench.py", "studies/_sets.py")),
    }
