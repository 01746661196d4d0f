"""Growth whose candidates are each trained by several processes together: the first grows, the others train with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import nn
from typing_extensions import override

from saint import records
from saint.errors import DivergedError, ProcessGoneError, SaintError, WorkerError
from saint.growth._environment import environment
from saint.growth._journal import Journal
from saint.growth._orders import Brief, SentGraft, sent
from saint.growth._plan import Plan
from saint.growth._trial import Trial
from saint.growth._whole import CONTROLS, save_weights
from saint.growth._worker import open_text
from saint.growth._workforce import ControlMade, ControlRun, Workforce
from saint.models import FrozenBase, freeze
from saint.progress import Progress
from saint.records import Candidate
from saint.training import (
    Division,
    Moments,
    Processes,
    Schedule,
    Search,
    Start,
    Trained,
    Workspace,
    continue_training,
    train_many,
)

_ACCUMULATE = "schedule.accumulate"
_IS_DIVIDED = "the base was divided among processes, and a copy of it that learns would have been whole in each"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTogether:
    """Open base and text."""

    brief: Brief


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DivideTogether:
    """Keep a part of the base, now that all have it."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTogether:
    """Train candidates on a stack, all processes each of them."""

    candidates: tuple[Candidate, ...]
    stack: tuple[SentGraft, ...]
    schedule: Schedule
    search: Search
    starts: Mapping[str, tuple[SentGraft, Moments]]
    """Digest of a candidate -> what it goes on from, and what AdamW knows of that."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainWholeTogether:
    """Train the whole base further, all processes."""

    lr: float
    schedule: Schedule
    seed: int


@final
class Ranks(Workforce):
    """The first of several processes, which grows: what is trained, it trains with the others.

    It alone has the registry, reads sealed text and judges.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        """Nobody knows yet what there is to grow; the others wait in `serve`, and end with this one.

        Args:
            device: That this one computes on.
        """
        self._processes, self._device = processes, device
        self._can_speak = True
        self._division: Division | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._can_speak:  # else they are in the middle of something, and end because this process does
            with suppress(ProcessGoneError):
                self._processes.tell(None)

    def begin(self, brief: Brief, plan: Plan, base: FrozenBase, *, fsdp: bool = False) -> None:
        """Let the others open base and text.

        Args:
            base: Is put on this process's device.
            fsdp: Whether the base is divided among them; this process's own is divided in place.

        Raises:
            ConfigError: A stage's passes cannot be shared equally, or the base cannot be divided.
            WorkerError: Another process has no such base or text, or is gone.
        """
        for schedule in (plan.schedule, *map(plan.schedule_of, plan.in_full)):
            self._processes.share(schedule.accumulate, setting=_ACCUMULATE)
        nn.Module.to(base.model, self._device)
        with self._together(OpenTogether(brief=brief)):
            pass
        if fsdp:
            with self._together(DivideTogether()):
                division = Division(base, self._processes)
            self._division = division
            self._lend(is_lent=True)

    def _lend(self, *, is_lent: bool) -> None:
        if self._division is not None:
            self._division.is_lent = is_lent

    @override
    def watched(self, progress: Progress) -> Progress:
        return progress

    @override
    def begin_round(self, number: int) -> None:
        pass

    @override
    def train(self, journal: Journal, trials: Sequence[Trial]) -> None:
        candidates, settings = [trial.candidate for trial in trials], journal.training(trials)
        settings["work"] = replace(settings["work"], processes=self._processes)
        stack, schedule = trials[0].stack, trials[0].schedule
        starts = {
            records.digest(trial.candidate): (SentGraft.of(trial.start), trial.moments)
            for trial in trials
            if trial.start is not None
        }
        order = TrainTogether(
            candidates=tuple(candidates), stack=sent(stack), schedule=schedule, search=settings["search"], starts=starts
        )
        with self._together(order):
            found = train_many(journal.base, stack, candidates, journal.data.train, **settings)
        made_on = environment(journal.base.model.device) | {"processes": self._processes.size}
        journal.keep(trials, found, made_on=made_on)

    @override
    def train_controls(self, journal: Journal, runs: Mapping[str, ControlRun]) -> dict[str, ControlMade]:
        return {
            name: self._train_whole(journal, run)
            if run.candidate is None
            else self._train_lora(journal, run, run.candidate)
            for name, run in runs.items()
            if run.candidate is not None or not journal.base.is_quantised
        }

    @override
    def validate(self, journal: Journal) -> None:
        pass

    @override
    def close_round(self, journal: Journal, number: int) -> None:
        pass

    @override
    def finish(self, journal: Journal) -> None:
        pass

    @contextmanager
    def _together(self, order: Any) -> Iterator[None]:
        """Tell the others what to do, and do it as they do."""
        self._can_speak = False
        self._processes.tell(order)
        self._lend(is_lent=False)
        try:
            with self._processes.agreed():
                yield
        except ProcessGoneError:
            raise
        except SaintError:
            self._can_speak = True
            self._lend(is_lent=True)
            raise
        self._can_speak = True
        self._lend(is_lent=True)

    def _train_lora(self, journal: Journal, run: ControlRun, candidate: Candidate) -> ControlMade:
        search, place = Search(), journal.checkpoint(run.checkpoint)
        order = TrainTogether(candidates=(candidate,), stack=(), schedule=run.schedule, search=search, starts={})
        with self._together(order):
            [trained] = train_many(
                journal.base,
                (),
                [candidate],
                journal.data.train,
                select=journal.data.select[journal.data.grown_domain],
                schedule=run.schedule,
                search=search,
                work=Workspace(checkpoint_of=lambda _: place, progress=journal.progress, processes=self._processes),
            )
        return ControlMade(failure=trained.failure, graft=trained.graft)

    def _train_whole(self, journal: Journal, run: ControlRun) -> ControlMade:
        if self._division is not None:
            return ControlMade(failure=_IS_DIVIDED)
        lr, seed = journal.plan.controls.full_lr, journal.plan.seed
        try:
            with self._together(TrainWholeTogether(lr=lr, schedule=run.schedule, seed=seed)):
                model, history = continue_training(
                    journal.base,
                    journal.data.train,
                    lr=lr,
                    select=journal.data.select[journal.data.grown_domain],
                    schedule=run.schedule,
                    seed=seed,
                    checkpoint=journal.checkpoint(run.checkpoint),
                    progress=journal.progress,
                    processes=self._processes,
                )
        except DivergedError as error:
            return ControlMade(failure=str(error))
        save_weights(model, journal.registry.work / CONTROLS / run.file)
        return ControlMade(history=history)


def serve(processes: Processes, device: torch.device) -> None:
    """Do what the first process says, as one of those that train with it, until it says that this is all.

    What stops the first process in a training stops the training here, too, and is for the first one to tell.

    Raises:
        ProcessGoneError: Another process is.
    """
    hand: _Hand | None = None
    while (order := processes.tell(None)) is not None:
        if isinstance(order, int) and hand is not None:  # a weight is wanted
            hand.lend(order)
            continue
        try:
            with processes.agreed():
                if isinstance(order, OpenTogether):
                    hand = _Hand(order, processes, device)
                elif hand is not None:
                    hand.do(order)
        except ProcessGoneError:
            raise
        except SaintError:
            continue


@final
class _Hand:
    """A process that trains with the first one, and what it trains with."""

    def __init__(self, order: OpenTogether, processes: Processes, device: torch.device) -> None:
        self._processes, brief = processes, order.brief
        self._base: FrozenBase = freeze(brief.base, revision=brief.revision, quantize=brief.identity.quantization)
        remedy = "give all processes the base that the first one has"
        self._base.must_match(brief.identity, what="this process's base", remedy=remedy)
        nn.Module.to(self._base.model, device)
        self._train = open_text(brief, brief.train)
        self._select = open_text(brief, brief.select[brief.grown])
        self._folder = Path(brief.work) / "prefix" if Path(brief.work).is_dir() else None
        self._division: Division | None = None

    def lend(self, index: int) -> None:
        """Take part in putting a weight together that the first process wants."""
        assert self._division is not None  # else it has all of them
        self._division.lend(index)

    def do(self, order: Any) -> None:
        """Take part in what all do."""
        if isinstance(order, DivideTogether):
            self._division = Division(self._base, self._processes)
        elif isinstance(order, TrainTogether):
            self._train_together(order)
        elif isinstance(order, TrainWholeTogether):
            self._train_whole(order)
        else:
            raise WorkerError(f"a process was told of a {type(order).__name__}, which it does not know")

    def _train_together(self, order: TrainTogether) -> list[Trained]:
        return train_many(
            self._base,
            [graft.opened() for graft in order.stack],
            order.candidates,
            self._train,
            select=self._select,
            schedule=order.schedule,
            search=order.search,
            starts={
                name: Start(graft=graft.opened(), moments=moments) for name, (graft, moments) in order.starts.items()
            },
            work=Workspace(folder=self._folder, processes=self._processes),
        )

    def _train_whole(self, order: TrainWholeTogether) -> None:
        continue_training(
            self._base,
            self._train,
            lr=order.lr,
            select=self._select,
            schedule=order.schedule,
            seed=order.seed,
            processes=self._processes,
        )
