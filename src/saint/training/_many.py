"""Training the candidates of a round: together where that pays, and to the end where they are worth it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import torch

from saint import records
from saint.composition import Prefix, PrefixCache, blocks_of, boundary_of
from saint.data import Corpus
from saint.errors import ConfigError
from saint.grafts import Graft
from saint.models import FrozenBase, must_read
from saint.progress import Progress, Silent, Task
from saint.records import Candidate
from saint.training._birth import Born, Start, Starts, begun, start_of
from saint.training._learn import Development, learn
from saint.training._learner import Learner, Moments, PerDocument
from saint.training._processes import Processes
from saint.training._schedule import Schedule
from saint.training._search import Rung, Search, no_number_at, stopped_at
from saint.training._together import Together

_WASTE = 0.125  # of a candidate's own blocks: what it may compute besides to share a pass with one that is deeper down
_MIB = 1 << 20


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What came of training one candidate."""

    candidate: Candidate
    graft: Graft | None
    """None for one that failed, or that another process stopped."""
    train_tokens: int
    """Tokens that it learnt from."""
    birth_tokens: int = 0
    """Tokens that it was shown before: what it was born from, and what a first step in closed form was tried on."""
    time_s: float = 0.0
    """Seconds that it trained for, those before an interruption included; of a pass that several share, each has an
    equal part."""
    failure: str = ""
    """Why it failed; empty if it did not."""
    stopped: str = ""
    """Why it was stopped at a rung; empty if it was not. Its graft is as it was there."""
    moments: Moments = field(default_factory=dict)
    """What AdamW knew when it ended, by site key and name in the part there; empty for one that failed."""

    @property
    def all_tokens(self) -> int:
        """Tokens that it was shown."""
        return self.birth_tokens + self.train_tokens


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """Where unfinished work lies, who watches it, and who else takes part."""

    checkpoint_of: Callable[[Candidate], Path | None] = lambda _: None
    """Where each candidate is saved when interrupted and at the end; what stopped there is taken up. Delete the files
    once all that came of a call is stored, for its rungs need to know all of them."""
    cache: PrefixCache | None = None
    """What the blocks below give; one that is handed over is kept for the next call."""
    folder: Path | None = None
    """Where a cache that is made for one call may use the disk."""
    progress: Progress = field(default_factory=Silent)
    processes: Processes = field(default_factory=Processes)
    """Those that train all of it together, which all ask for the same: each makes some of a step's `accumulate` passes,
    and all come to the same weights. Checkpoints are the first one's."""


def train_many(
    base: FrozenBase,
    stack: Sequence[Graft],
    candidates: Sequence[Candidate],
    text: Corpus,
    *,
    select: Corpus | None = None,
    schedule: Schedule | None = None,
    search: Search | None = None,
    starts: Starts | None = None,
    work: Workspace | None = None,
) -> list[Trained]:
    """Train candidates on top of `stack`, none knowing of the others, in the order in which they are given.

    What each comes to is what training it alone gives: the same order of text, its own learning rate, its own early
    stopping and best state. A candidate that fails leaves the others as they are.

    Args:
        text: Must be the train split.
        select: Development text: keeps the best state, stops early, and decides at the rungs.
        search: How many share passes, and where losers are stopped.
        starts: Digest of a candidate (`records.digest`) -> the graft that it goes on from, at that graft's strength,
            maybe with moments; without one a candidate is newborn.
        work: Where unfinished work lies, who watches, and who else takes part.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        SiteError, ConfigError, DataError: A candidate or the text does not fit.
        BaseChangedError: Something wrote to the base.
        WorkerError: One of the processes is gone, or came to other weights.
    """
    schedule, search, work = schedule or Schedule(), search or Search(), work or Workspace()
    processes = work.processes
    processes.share(schedule.accumulate, setting="schedule.accumulate")
    if not candidates:
        return []
    if search.rungs and select is None:
        raise ConfigError("rungs compare candidates on development text, and none was given; give select or no rungs")
    must_read(base.model.config, schedule.seq_len)
    for standing in stack:
        standing.requires_grad_(requires_grad=False)
    cache = work.cache or cache_of(search, folder=work.folder, progress=work.progress, num_sharing=processes.num_here)
    is_kept = work.cache is not None
    round_ = Round(base, stack, text, select, schedule, search, cache, processes, is_kept=is_kept)
    try:
        runs = [
            round_.begin(born, start_of(born.graft.candidate, starts or {}), work.checkpoint_of(born.graft.candidate))
            for born in begun(base, stack, candidates, text, schedule, starts or {})
        ]
        with work.progress.task(_described(candidates), total=len(runs) * schedule.num_tokens, unit="tokens") as task:
            with processes.agreed():
                task.advance(sum(run.learner.step for run in runs) * schedule.tokens_per_step)
            for bracket in range(search.brackets):
                round_.run(runs[bracket :: search.brackets], search.rungs_of(bracket), task)
    finally:
        if work.cache is None:
            cache.close()
    with processes.agreed():
        base.check()
    found = [outcome(run, keep_best=select is not None) for run in runs]
    processes.must_have_the_same(records.digest([run.learner.digest for run in runs]), what="weights")
    return found


def _described(candidates: Sequence[Candidate]) -> str:
    """What is trained, for people."""
    first = candidates[0]
    if len(candidates) == 1:
        return f"{first.kind} at {len(first.sites)} sites"
    return f"{len(candidates)} candidates"


def cache_of(
    search: Search, *, folder: Path | None = None, progress: Progress | None = None, num_sharing: int = 1
) -> PrefixCache:
    """An empty cache of what frozen blocks give, with the limits of `search`; close it when it is not needed any more.

    Args:
        folder: Where it may use the disk.
        num_sharing: How many processes share what is free of this machine's memory, where `search` sets no limit.
    """
    return PrefixCache(
        memory_bytes=None if search.memory_mib is None else search.memory_mib * _MIB,
        disk_bytes=None if search.disk_mib is None else search.disk_mib * _MIB,
        folder=folder,
        dtype=None if search.cache_dtype is None else getattr(torch, search.cache_dtype),
        progress=progress,
        num_sharing=num_sharing,
    )


@final
@dataclass(slots=True)
class Run:
    """A graft, how it was born, what learns of it, and where it was stopped."""

    born: Born
    learner: Learner
    start: Start | None
    """What it went on from."""
    stopped: str = ""

    @property
    def graft(self) -> Graft:
        """What learns."""
        return self.born.graft


@final
class Round:
    """All that the candidates have in common."""

    def __init__(
        self,
        base: FrozenBase,
        stack: Sequence[Graft],
        text: Corpus,
        select: Corpus | None,
        schedule: Schedule,
        search: Search,
        cache: PrefixCache,
        processes: Processes | None = None,
        *,
        is_kept: bool,
    ) -> None:
        self._base, self._stack, self._text = base, stack, text
        self._processes = processes or Processes()
        device = base.model.device
        self._development = None if select is None else Development(select, schedule, device, processes)
        self._schedule, self._search, self._cache = schedule, search, cache
        self._is_kept = is_kept or not schedule.shift
        self._about = {"stack": [standing.digest for standing in stack], "base": base.digest}

    def begin(self, born: Born, start: Start | None, checkpoint: Path | None) -> Run:
        """Make ready to learn, or take up what was saved."""
        graft = born.graft
        graft.to(device=self._base.model.device)  # before AdamW's moments are taken up, which are where it is
        self._processes.copy_from_first([*graft.parameters(), *graft.buffers()])
        candidate, schedule, full = graft.candidate, self._schedule, graft.strength
        batches = self._text.batches(
            batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=candidate.seed, shift=schedule.shift
        )
        learner = Learner(
            dict(graft.named_parameters()),
            batches,
            schedule,
            of={"candidate": candidate, **self._about, **({} if start is None else {"start": start.name})},
            lr=candidate.lr,
            strengthen=lambda share: graft.set_strength(full * share),
            checkpoint=checkpoint if self._processes.is_first else None,
            carried=None if start is None else _spelled(graft, start.moments),
        )
        learner.be_as_first(self._processes)
        return Run(born, learner, start)

    def run(self, runs: Sequence[Run], rungs: Sequence[Rung], task: Task) -> None:
        """Train to the end, with those that lose at a rung left behind there."""
        left = list(runs)
        for rung in rungs:
            passes = self.learn(left, task, until=rung.step_of(self._schedule.num_steps))
            left = self._promoted([run for run in left if not run.learner.failure], rung, passes)
        self.learn(left, task)

    def nats_at(self, run: Run, step: int, passes: Mapping[int, Together]) -> PerDocument:
        """What a run paid for each document of *select* at a rung."""
        development = self._development
        assert development is not None  # without it there are no rungs
        read = partial(development.nats, passes[id(run)].model(run.learner))
        with self._processes.agreed():
            return run.learner.at_rung(step, read)

    def _promoted(self, runs: list[Run], rung: Rung, passes: Mapping[int, Together]) -> list[Run]:
        development, num_steps = self._development, self._schedule.num_steps
        assert development is not None  # without it there are no rungs
        if len(runs) < 2:
            return runs
        step = rung.step_of(num_steps)
        nats = [self.nats_at(run, step, passes) for run in runs]
        for run, there in zip(runs, nats, strict=True):
            if not np.isfinite(there).all():
                run.learner.failure = no_number_at(step)
        compared = [(run, there) for run, there in zip(runs, nats, strict=True) if not run.learner.failure]
        if len(compared) < 2:
            return [run for run, _ in compared]
        why = stopped_at([there for _, there in compared], development.num_bytes_each, rung, num_steps)
        for (run, _), stopped in zip(compared, why, strict=True):
            run.stopped = stopped
        return [run for run, _ in compared if not run.stopped]

    def learn(self, runs: Sequence[Run], task: Task, *, until: int | None = None) -> dict[int, Together]:
        """Train in cohorts; what makes the passes of each run is returned by the run's identity."""
        cohorts = self._cohorts(runs)
        prefix = self._prefix([self._boundary(cohort) for cohort in cohorts])
        passes: dict[int, Together] = {}
        for cohort in cohorts:
            together = self._passes(cohort, prefix, keep=len(cohorts) > 1 or self._is_kept)
            passes |= {id(run): together for run in cohort}
            learners = [run.learner for run in cohort]
            learn(learners, together, task, until=until, development=self._development, processes=self._processes)
        return passes

    def _prefix(self, boundaries: Sequence[int]) -> Prefix:
        is_any = self._processes.is_any if self._base.is_divided else bool
        return Prefix(self._base, self._stack, boundaries, self._cache, is_any=is_any)

    def _passes(self, cohort: Sequence[Run], prefix: Prefix, *, keep: bool) -> Together:
        return Together(
            self._base,
            self._stack,
            [(run.learner, run.graft) for run in cohort],
            self._boundary(cohort),
            prefix,
            schedule=self._schedule,
            stacked=not self._search.exact,
            keep=keep,
            processes=self._processes,
        )

    def _boundary(self, cohort: Sequence[Run]) -> int:
        """Blocks below all of them; 0 where nothing is to be kept of these."""
        if not self._search.cache_prefix:
            return 0
        return min(boundary_of(self._base, self._stack, run.graft.candidate.sites) for run in cohort)

    def _cohorts(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Runs that share their passes: those above the same blocks, or nearly, and neighbours at one site."""
        device = next(self._base.model.parameters()).device
        most = self._search.num_together(self._schedule.tokens_per_step, device)
        num_blocks = len(blocks_of(self._base))
        cohorts: list[list[Run]] = []
        for run in sorted(runs, key=lambda run: (self._boundary([run]), _shape(run.graft.candidate))):
            own = num_blocks - self._boundary([run])
            if cohorts and len(cohorts[-1]) < most and not _is_alone([run, *cohorts[-1]]):
                wasted = self._boundary([run]) - self._boundary(cohorts[-1])
                if wasted <= _WASTE * own:
                    cohorts[-1].append(run)
                    continue
            cohorts.append([run])
        return [part for cohort in cohorts for part in self._as_exact(cohort)]

    def _as_exact(self, cohort: list[Run]) -> list[list[Run]]:
        """The cohort, or each of it alone where the bits have to be the same and would not."""
        if not self._search.exact or len(cohort) == 1:
            return [cohort]
        prefix = self._prefix([self._boundary(cohort)])
        together = self._passes(cohort, prefix, keep=False)
        learners = [run.learner for run in cohort]
        at_once = _gradients(together, learners)
        alone = [
            gradient
            for run in cohort
            for gradient in _gradients(self._passes([run], prefix, keep=False), [run.learner])
        ]
        same = all(torch.equal(one, other) for one, other in zip(at_once, alone, strict=True))
        return [cohort] if same else [[run] for run in cohort]


def _gradients(passes: Together, learners: Sequence[Learner]) -> list[torch.Tensor]:
    """What one backward pass gives each, next to nothing being changed."""
    for learner in learners:
        learner.begin_step()
    passes.backward(learners)
    found = []
    for learner in learners:
        for parameter in learner.learning.values():
            assert parameter.grad is not None  # all that learns is reached
            found.append(parameter.grad)
            parameter.grad = None
    return found


def _is_alone(runs: Sequence[Run]) -> bool:
    """Whether one of them changes layers that stand, which are then not those of the others."""
    return any(part.changes_layers for run in runs for part in run.graft.parts.values())


def _shape(candidate: Candidate) -> tuple[str, ...]:
    """Sorts candidates that can be stacked next to each other."""
    return (*(site.key for site in candidate.sites), candidate.kind, records.digest(candidate.options))


def outcome(run: Run, *, keep_best: bool) -> Trained:
    candidate, learner = run.graft.candidate, run.learner
    trained = Trained(
        candidate=candidate,
        graft=None,
        train_tokens=learner.step * learner.schedule.tokens_per_step,
        birth_tokens=run.born.num_tokens,
        time_s=learner.time_s,
        failure=learner.failure,
    )
    if learner.failure:
        return trained
    before = run.start.graft.history if run.start is not None else None
    run.graft.history = replace(
        learner.finish(keep_best=keep_best),
        first_step=run.born.tried,
        birth_tokens=run.born.num_tokens,
        earlier_tokens=before.all_tokens if before is not None else 0,
        strength=run.graft.strength,
    )
    names = _names(run.graft)
    moments = {names[name]: there for name, there in learner.moments.items()}
    graft = run.graft.requires_grad_(requires_grad=False).eval()
    return replace(trained, graft=graft, stopped=run.stopped, moments=moments)


def _names(graft: Graft) -> dict[str, str]:
    """Name of a parameter in the graft -> site key and name in the part there."""
    of = {
        id(parameter): f"{key}.{name}"
        for key, part in graft.parts.items()
        for name, parameter in part.named_parameters()
    }
    return {name: of[id(parameter)] for name, parameter in graft.named_parameters()}


def _spelled(graft: Graft, moments: Moments) -> Moments:
    """The moments by the names of parameters in the graft."""
    return {name: moments[there] for name, there in _names(graft).items() if there in moments}
