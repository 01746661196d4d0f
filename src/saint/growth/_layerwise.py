"""What a plan says about growth by layers: which blocks are put on top of which, for how long, and at what cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint.errors import ConfigError
from saint.records import LATER, ActiveBudget
from saint.training import Schedule

Init = Literal["zero", "random", "copy"]
LAYERS_BEGUN = "layers_begun"
"""The entry of the ledger that says what the first stage came to, and what every stage takes."""
HeadRule = Literal["carried", "continued", "reset", "frozen"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerStage:
    """One stage: its blocks and the head learn, everything below them is frozen."""

    name: str = ""
    """For people."""
    tokens: int = 0
    """That it learns from, in whole steps; a cap where the schedule has a plateau. 0 for what the plan's schedule
    says."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Layerwise:
    """Growth of a decoder in depth on a token interface that does not learn (Bochkov 2025, arXiv:2507.07129).

    The first stage makes the base, with its first blocks; each stage after it puts as many on top, as one graft of kind
    `layer`, and what is below is never opened again.
    """

    architecture: str = "saint_layered"
    """A model type of transformers."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that architecture's configuration, but for the vocabulary and the number of blocks."""
    font: str = field(default="", metadata=LATER)
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
        for number, stage in enumerate(self.stages, 1):
            if stage.tokens < 0:
                raise ConfigError(f"tokens of stage {number} is {stage.tokens}; give at least a step, or leave it out")

    def name_of(self, index: int) -> str:
        """What stage `index` is called."""
        first, last = index * self.blocks + 1, (index + 1) * self.blocks
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
