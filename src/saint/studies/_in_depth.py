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
from saint.growth import HEAD_PARTS, LayerStage, Layerwise, candidate_of, started
from saint.models import FrozenBase, freeze
from saint.progress import Progress
from saint.studies._ways_plan import InDepth
from saint.training import (
    BasePlan,
    FirstStage,
    Moments,
    Schedule,
    Start,
    Trained,
    Workspace,
    active_stage,
    pretrain,
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
    def head_params(self) -> int:
        """Parameters of the changes of the head, which the head itself takes up once all is put together."""
        return sum(
            sum(one.numel() for one in graft.parts[site.key].parameters())
            for graft in self.stack
            for site in graft.candidate.sites
            if site.role == "head"
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
        self._layers = Layerwise(
            architecture=plan.architecture,
            model={name: value for name, value in plan.model.items() if name != "num_hidden_layers"},
            blocks=self._per_stage,
            stages=(LayerStage(),) * grown.stages,
            init=grown.init,
            head=grown.head,
            lr=plan.lr,
        )

    def grow(self) -> Grown:
        """Train all stages; what is below a stage is checked to be what it was, to the bit.

        Raises:
            Interrupted: A stop was asked for.
            DivergedError: A stage did not learn.
        """
        first = self._first()
        base = freeze(first.model, tokenizer=self._tokenizer)
        schedule = self._schedule(0, 0)
        stages = [self._stage(base, first.history, 0, schedule)]
        stack: list[Graft] = []
        moments = first.head_moments
        for index in range(1, self._grown.stages):
            below = [graft.digest for graft in stack]
            schedule = self._schedule(index, sum(one.history.train_tokens for one in stages))
            trained = self._further(base, stack, index, schedule, moments)
            if [graft.digest for graft in stack] != below:
                raise BaseChangedError(f"blocks below stage {index + 1} were written to; nothing may do that")
            assert trained.graft is not None  # else it would have been said
            assert trained.graft.history is not None  # it was just trained
            stack.append(trained.graft)
            stages.append(self._stage(base, trained.graft.history, index, schedule))
            moments = _of_head(trained)
        return Grown(base=base, stack=tuple(stack), stages=tuple(stages))

    def _first(self) -> FirstStage:
        plan = replace(
            self._plan,
            model={**self._layers.model, "num_hidden_layers": self._per_stage},
            schedule=self._schedule(0, 0),
        )
        watched: dict[str, Any] = {"checkpoint": self._saved(0), "progress": self._progress}
        if self._grown.interface_learns:
            model, history = pretrain(plan, self._tokenizer, self._text, select=self._select, **watched)
            return FirstStage(model, history, {})
        return train_first_stage(plan, self._tokenizer, self._text, select=self._select, **watched)

    def _further(
        self, base: FrozenBase, stack: Sequence[Graft], index: int, schedule: Schedule, moments: Moments
    ) -> Trained:
        candidate = candidate_of(base, self._layers, seed=self._plan.seed + index * STAGES_APART)
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

    def _schedule(self, index: int, spent: int) -> Schedule:
        """Of a stage, once the ones before it have learnt from so many tokens.

        Those up to the last end at a plateau at the latest where every stage to come still has its least share.
        """
        whole, stages = self._plan.schedule, self._grown.stages
        equal = whole.num_steps / stages
        done = spent // whole.tokens_per_step
        if self._grown.plateau is None:
            until = round(equal * (index + 1))
        else:
            until = round(whole.num_steps - self._grown.least * equal * (stages - 1 - index))
        is_last = index == stages - 1
        plateau = None if is_last else self._grown.plateau
        return replace(whole, num_steps=max(1, until - done), plateau=plateau)

    def _stage(self, base: FrozenBase, history: History, index: int, schedule: Schedule) -> Stage:
        counted = active_stage(
            base.model.config,
            name=self._layers.name_of(index),
            num_blocks=self._per_stage * (index + 1),
            num_newest=self._per_stage,
            with_head=self._layers.head != "frozen" or index == 0,
            schedule=schedule,
        )
        table = base.model.get_input_embeddings()
        more = sum(one.numel() for one in table.parameters()) if self._grown.interface_learns and not index else 0
        steps = history.train_tokens // schedule.tokens_per_step
        return Stage(
            history=history,
            active_params=counted.block_params + counted.head_params + more,
            flops=steps * (counted.forward_flops + counted.backward_flops),
        )

    def _saved(self, index: int) -> Path:
        return self._checkpoint.with_name(f"{self._checkpoint.name}.{index}")


def _of_head(trained: Trained) -> Moments:
    """What AdamW knows of the head's weight and bias."""
    head = trained.candidate.sites[-1].key
    known = {theirs: trained.moments.get(f"{head}.{ours}") for ours, theirs in HEAD_PARTS.items()}
    return {name: moments for name, moments in known.items() if moments is not None}
