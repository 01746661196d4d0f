"""Growth by layers with nobody to judge it: what a study holds against models that are trained as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from torch import nn

from saint import records
from saint.composition import compose
from saint.data import Corpus
from saint.errors import BaseChangedError, ConfigError, DivergedError
from saint.grafts import Graft, History
from saint.growth import HEAD_PARTS, LayerStage, Layerwise, stage_candidate, stages_of, started
from saint.models import FrozenBase, freeze
from saint.progress import Progress
from saint.records import ActiveStage
from saint.studies._ways_plan import InDepth
from saint.training import (
    BasePlan,
    FirstStage,
    Moments,
    Schedule,
    Start,
    Trained,
    Workspace,
    train_first_stage,
    train_many,
)

STAGES_APART = 1_000_000  # between the seeds of stages: none reads its text in the order of the one before


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What a stage came to."""

    history: History
    active_params: int
    flops: int
    """Of all its steps, those of the frozen blocks included."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Grown:
    """A model that has grown in depth."""

    base: FrozenBase
    stack: tuple[Graft, ...]
    stages: tuple[Stage, ...]

    @property
    def folded_params(self) -> int:
        """Parameters of the head's changes and of adapters, which weights take up once all is put together."""
        return sum(
            sum(one.numel() for one in part.parameters())
            for graft in self.stack
            for part in graft.parts.values()
            if part.can_fold
        )

    @property
    def model(self) -> nn.Module:
        """All of it."""
        return compose(self.base, self.stack)


@final
class Growing:
    """The stages of one model, one after the other."""

    def __init__(
        self,
        plan: BasePlan,
        grown: InDepth,
        tokenizer: Any,
        text: Corpus,
        select: Corpus,
        *,
        checkpoint: Path,
        progress: Progress,
    ) -> None:
        """Plan them.

        Args:
            plan: Of the whole model, whose blocks and tokens the stages share.
            checkpoint: Where a stage that is under way is saved; that of the whole is not.

        Raises:
            ConfigError: The stages do not divide the blocks.
        """
        self._plan, self._grown, self._tokenizer = plan, grown, tokenizer
        self._text, self._select = text, select
        self._checkpoint, self._progress = checkpoint, progress
        num_blocks = plan.model["num_hidden_layers"]
        if num_blocks % grown.stages:
            raise ConfigError(f"{grown.stages} stages do not divide {num_blocks} blocks; change either")
        self._per_stage = num_blocks // grown.stages
        phase = [] if grown.lora is None else [LayerStage(sort="lora", rank=grown.lora.rank, lr=grown.lora.lr)]
        stages = [LayerStage()]
        for _ in range(1, grown.stages):
            stages += [LayerStage(), *(phase if grown.lora and grown.lora.after == "every stage" else [])]
        stages += phase if grown.lora and grown.lora.after == "last stage" else []
        self._layers = Layerwise(
            architecture=plan.architecture,
            model={name: value for name, value in plan.model.items() if name != "num_hidden_layers"},
            blocks=self._per_stage,
            stages=tuple(stages),
            init=grown.init,
            head=grown.head,
            lr=plan.lr,
            interface_learns=grown.interface_learns,
        )

    def grow(self) -> Grown:
        """Train all stages; what is below a stage is checked to be what it was, to the bit.

        Raises:
            Interrupted: A stop was asked for.
            DivergedError: A stage did not learn.
        """
        schedule = self._schedule(0, [])
        first = self._first(schedule)
        base = freeze(first.model, tokenizer=self._tokenizer)
        ledger = self._ledger(base)
        stages = [_stage(first.history, ledger[0], schedule)]
        stack: list[Graft] = []
        moments = first.head_moments
        for index in range(1, len(self._layers.stages)):
            below = [graft.digest for graft in stack]
            schedule = self._schedule(index, stages)
            trained = self._further(base, stack, index, schedule, moments)
            if [graft.digest for graft in stack] != below:
                raise BaseChangedError(f"blocks below stage {index + 1} were written to; nothing may do that")
            assert trained.graft is not None  # else it would have been said
            assert trained.graft.history is not None  # it was just trained
            stack.append(trained.graft)
            stages.append(_stage(trained.graft.history, ledger[index], schedule))
            moments = _of_head(trained)
        return Grown(base=base, stack=tuple(stack), stages=tuple(stages))

    def _ledger(self, base: FrozenBase) -> list[ActiveStage]:
        """What a step of each stage takes."""
        return stages_of(self._layers, base.model.config, [self._plan.schedule] * len(self._layers.stages))

    def _first(self, schedule: Schedule) -> FirstStage:
        plan = replace(
            self._plan, model={**self._layers.model, "num_hidden_layers": self._per_stage}, schedule=schedule
        )
        return train_first_stage(
            plan,
            self._tokenizer,
            self._text,
            with_interface=self._layers.interface_learns,
            select=self._select,
            checkpoint=self._saved(0),
            progress=self._progress,
        )

    def _further(
        self, base: FrozenBase, stack: Sequence[Graft], index: int, schedule: Schedule, moments: Moments
    ) -> Trained:
        seed = self._plan.seed + index * STAGES_APART
        candidate = stage_candidate(base, stack, self._layers, index, seed=seed)
        head = candidate.sites[-1].key
        known = {f"{head}.{ours}": moments[theirs] for ours, theirs in HEAD_PARTS.items() if theirs in moments}
        start = Start(
            graft=started(base, stack, candidate, self._layers),
            moments=known if self._layers.head == "carried" else {},
        )
        [trained] = train_many(
            base,
            stack,
            [candidate],
            self._text,
            select=self._select,
            schedule=schedule,
            starts={records.digest(candidate): start},
            work=Workspace(checkpoint_of=lambda _: self._saved(index), progress=self._progress),
        )
        if trained.graft is None:
            raise DivergedError(f"stage {index + 1} did not learn: {trained.failure}")
        return trained

    def _schedule(self, index: int, before: Sequence[Stage]) -> Schedule:
        """Of a stage, once the ones before it have learnt.

        LoRA phases have their share, and stages of blocks divide the rest: evenly, or each up to the last until a
        plateau, which it has to come to while every stage to come still has its least part. The last of all has what
        is left.
        """
        whole, stages = self._plan.schedule, self._layers.stages
        spent = [one.history.train_tokens // whole.tokens_per_step for one in before]
        if index == len(stages) - 1:
            return replace(whole, num_steps=max(1, whole.num_steps - sum(spent)))
        phases = [stage.sort == "lora" for stage in stages]
        of_phases = self._grown.lora.share * whole.num_steps if self._grown.lora is not None else 0.0
        if phases[index]:
            return replace(whole, num_steps=max(1, round(of_phases / sum(phases))))
        of_blocks = whole.num_steps - of_phases
        equal = of_blocks / self._grown.stages
        done = sum(steps for steps, is_phase in zip(spent, phases, strict=False) if not is_phase)
        place = sum(not is_phase for is_phase in phases[:index])
        to_come = self._grown.stages - 1 - place
        plateau = self._grown.plateau if to_come else None
        until = equal * (place + 1) if self._grown.plateau is None else of_blocks - self._grown.least * equal * to_come
        return replace(whole, num_steps=max(1, round(until) - done), plateau=plateau)

    def _saved(self, index: int) -> Path:
        return self._checkpoint.with_name(f"{self._checkpoint.name}.{index}")


def _stage(history: History, active: ActiveStage, schedule: Schedule) -> Stage:
    steps = history.train_tokens // schedule.tokens_per_step
    return Stage(history=history, active_params=active.params, flops=steps * active.step_flops)


def _of_head(trained: Trained) -> Moments:
    """What AdamW knows of the head's weight and bias."""
    head = trained.candidate.sites[-1].key
    known = {theirs: trained.moments.get(f"{head}.{ours}") for ours, theirs in HEAD_PARTS.items()}
    return {name: moments for name, moments in known.items() if moments is not None}
