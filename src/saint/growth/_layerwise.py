"""What a plan says about growth by layers: which blocks are put on top of which, for how long, and at what cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint import records
from saint.errors import ConfigError
from saint.records import ActiveBudget, Candidate
from saint.training import Schedule

Init = Literal["zero", "random", "copy"]
LAYERS_BEGUN = "layers_begun"
"""The entry of the ledger that says what the first stage came to, and what every stage takes."""
Sort = Literal["blocks", "lora"]
HeadRule = Literal["carried", "continued", "reset", "frozen"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStage:
    """One stage: its blocks and the head learn, everything below them is frozen; or adapters on all blocks do."""

    name: str = ""
    """For people."""
    tokens: int = 0
    """That it learns from, in whole steps; a cap where the schedule has a plateau. 0 for what the plan's schedule
    says."""
    sort: Sort = field(default="blocks", metadata=records.LATER)
    """Whether it puts blocks on top, or is a LoRA phase: low-rank adapters at every matrix of every block that is there
    learn with the head. What the blocks are after it is what they were and the adapters' change."""
    rank: int = field(default=0, metadata=records.LATER)
    """Of the adapters; 0 for the largest with which they have no more parameters than the matrices of a stage of
    blocks: 2 k d / 3 L for k of L blocks whose MLP is four times as wide as they are (arXiv:2507.07129)."""
    lr: float = field(default=0.0, metadata=records.LATER)
    """Peak learning rate; 0 for that of all stages."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Layerwise:
    """Growth of a decoder in depth on a token interface that does not learn (Bochkov 2025, arXiv:2507.07129).

    The first stage makes the base, with its first blocks; each stage after it puts as many on top, as one graft of kind
    `layer`, and what is below is never opened again. A LoRA phase between or after them is a graft of kind `readjust`.
    """

    architecture: str = "saint_layered"
    """A model type of transformers."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that architecture's configuration, but for the vocabulary and the number of blocks."""
    font: str = field(default="", metadata=records.LATER)
    """A .hex file of GNU Unifont for an interface that draws tokens, relative to the plan's folder; "" for Unifont
    where Debian has it, or else what Pillow has."""
    blocks: int = 1
    """That each stage puts on top."""
    stages: tuple[LayerStage, ...]
    """From the first on."""
    init: Init = "zero"
    """How new blocks start: with output projections of zero, so that nothing is changed to the bit; at random; or as a
    copy of the block below, which both change what is computed."""
    head: HeadRule = "carried"
    """What becomes of the output head after the first stage: it learns on with its optimiser's state and without a
    warm-up (`carried`), or with a new one (`continued`); it begins anew (`reset`); or it does not learn (`frozen`)."""
    lr: float = 3e-3
    """Peak learning rate of every stage; new blocks warm up to it as the schedule says."""
    interface_learns: bool = field(default=False, metadata=records.LATER)
    """Whether the table that tokens come in through learns in the first stage; it is frozen after that."""
    active: ActiveBudget = field(default_factory=ActiveBudget)
    """The most that a stage may take."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.blocks < 1:
            raise ConfigError(f"blocks is {self.blocks}; a stage puts at least 1 on top")
        if len(self.stages) < 2:
            raise ConfigError(
                f"there are {len(self.stages)} stages; growth takes a first one, which makes the base, and at least "
                "one on top of it"
            )
        if self.lr <= 0:
            raise ConfigError(f"lr is {self.lr:g}; it must be positive")
        if "num_hidden_layers" in self.model:
            raise ConfigError("model.num_hidden_layers has no effect, as stages put blocks in; set blocks instead")
        self._check_stages()

    def _check_stages(self) -> None:
        if self.stages[0].sort != "blocks":
            raise ConfigError("stage 1 is a LoRA phase, and there are no blocks yet; begin with a stage of blocks")
        for number, stage in enumerate(self.stages, 1):
            if stage.tokens < 0:
                raise ConfigError(f"tokens of stage {number} is {stage.tokens}; give at least a step, or leave it out")
            if stage.lr < 0 or stage.rank < 0:
                raise ConfigError(
                    f"stage {number} has lr {stage.lr:g} and rank {stage.rank}; give numbers above 0, or leave them out"
                )
            if stage.sort == "blocks" and stage.rank:
                raise ConfigError(f"rank of stage {number} has no effect on blocks; set sort = 'lora', or leave it out")

    def num_blocks(self, index: int) -> int:
        """Blocks that are there in stage `index`, those that learn in it included."""
        return self.blocks * sum(stage.sort == "blocks" for stage in self.stages[: index + 1])

    def lr_of(self, index: int) -> float:
        """Peak learning rate of stage `index`."""
        return self.stages[index].lr or self.lr

    def name_of(self, index: int) -> str:
        """What stage `index` is called."""
        last = self.num_blocks(index)
        first = last - self.blocks + 1
        if self.stages[index].sort == "lora":
            return self.stages[index].name or f"LoRA on {last} blocks"
        return self.stages[index].name or (f"block {first}" if first == last else f"blocks {first} to {last}")

    def changes_to(self, schedule: Schedule, index: int) -> dict[str, Any]:
        """What stage `index` changes of the plan's schedule.

        Raises:
            ConfigError: It has fewer tokens than a step.
        """
        if not (tokens := self.stages[index].tokens):
            return {}
        if tokens < schedule.tokens_per_step:
            raise ConfigError(
                f"stage {index + 1} has {tokens:,} tokens, and a step takes {schedule.tokens_per_step:,}; give it "
                "more, or lower schedule.batch_size"
            )
        return {"num_steps": tokens // schedule.tokens_per_step}


def num_layers(candidates: Iterable[Candidate]) -> int:
    """New blocks that grafts of kind `layer` are together."""
    return sum(int(one.options.get("blocks", 1)) for one in candidates if one.kind == "layer")
