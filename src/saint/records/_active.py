"""The active budget of growth by layers: what learns in a stage, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saint.errors import BudgetError, ConfigError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveStage:
    """What is active in one stage, in counts that do not depend on the machine."""

    name: str
    num_blocks: int
    """Blocks that are there in it, those that learn included."""
    block_params: int
    """Parameters that learn, by where they are: in the newest blocks,"""
    head_params: int
    """in the output head,"""
    embedding_params: int = 0
    """in the token interface,"""
    adapter_params: int = 0
    """and in adapters of blocks that are there already."""
    optimizer_bytes: int
    """The two moments of AdamW."""
    activation_bytes: int
    """What one pass keeps for the backward pass, parameters not counted."""
    forward_flops: int
    """Of one step, through everything that is there; blocks that are frozen are counted as computed anew."""
    backward_flops: int
    """Of one step, through what learns and what is above it."""
    num_steps: int
    """At most, where development text may end the stage."""
    num_tokens: int
    """That it learns from, at most."""

    @property
    def params(self) -> int:
        """Parameters that learn."""
        return self.block_params + self.head_params + self.embedding_params + self.adapter_params

    @property
    def step_flops(self) -> int:
        """Of one step, forward and backward."""
        return self.forward_flops + self.backward_flops

    @property
    def train_flops(self) -> int:
        """Of all its steps."""
        return self.num_steps * self.step_flops


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveBudget:
    """The most that any stage may take, and all of them together. A limit that is None is none."""

    params: int | None = None
    """Parameters that learn in a stage."""
    optimizer_bytes: int | None = None
    """Moments of AdamW in a stage."""
    activation_bytes: int | None = None
    """What a pass of a stage keeps for its backward pass."""
    step_flops: int | None = None
    """Operations of a step, forward and backward."""
    tokens: int | None = None
    """That all stages together learn from."""
    train_flops: int | None = None
    """Operations of all steps of all stages."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing keeps."""
        for name in ("params", "optimizer_bytes", "activation_bytes", "step_flops", "tokens", "train_flops"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise ConfigError(f"{name} is {limit}; a limit is at least 1, leave it out for none")

    def check(self, stages: Sequence[ActiveStage]) -> None:
        """Refuse a schedule that goes beyond a limit.

        Raises:
            BudgetError: Names the first stage that does, or what all of them take together.
        """
        for name in ("params", "optimizer_bytes", "activation_bytes", "step_flops"):
            limit = getattr(self, name)
            for number, stage in enumerate(stages, 1):
                if limit is not None and (asked := getattr(stage, name)) > limit:
                    raise BudgetError(
                        f"stage {number} ({stage.name}) takes {asked:,} {_WORDS[name]}, and the active budget "
                        f"allows {limit:,}; take fewer blocks a stage, a smaller model or batch, or raise {name}"
                    )
        taken = {"tokens": "num_tokens", "train_flops": "train_flops"}
        for name, member in taken.items():
            limit, asked = getattr(self, name), sum(getattr(stage, member) for stage in stages)
            if limit is not None and asked > limit:
                raise BudgetError(
                    f"{len(stages)} stages take {asked:,} {_WORDS[name]} together, and the active budget allows "
                    f"{limit:,}; take fewer or shorter stages, or raise {name}"
                )


_WORDS = {
    "params": "active parameters",
    "optimizer_bytes": "bytes of the optimiser",
    "activation_bytes": "bytes of activations",
    "step_flops": "operations a step",
    "tokens": "tokens",
    "train_flops": "operations",
}
