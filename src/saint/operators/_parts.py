"""A Llama-like model taken apart: what the operators change."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from saint.consolidation import count_layers
from saint.errors import BaseModelError, ConfigError, ExportError
from saint.models import block_stacks

Block = dict[str, Tensor]
"""A block's weights by their names inside it."""

WRITERS = ("self_attn.o_proj", "mlp.down_proj")
"""What adds to the residual stream."""
_READERS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj")


@final
@dataclass(kw_only=True, slots=True)
class Parts:
    """Copies of a model's configuration and weights."""

    config: Any
    stack: str
    """The name of the list of blocks."""
    blocks: list[Block]
    outside: dict[str, Tensor]
    """All weights that are in no block, by their whole names."""
    new_blocks: list[int] = field(default_factory=list)
    """Places of the blocks that were put in."""
    masked_inputs: dict[str, Tensor] = field(default_factory=dict)
    """Linear map -> 1 for each input that is new and behind a mask, else 0."""
    masked_blocks: list[int] = field(default_factory=list)
    """Places of the new blocks whose answers are behind a mask."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """All weights by their whole names."""
        inside = {
            f"{self.stack}.{place}.{name}": weight
            for place, block in enumerate(self.blocks)
            for name, weight in block.items()
        }
        return {**self.outside, **inside}

    @property
    def num_blocks(self) -> int:
        """How many there are now."""
        return len(self.blocks)

    def arrange(self, order: Sequence[tuple[int, Block | None]]) -> None:
        """Put blocks in a new order: (the place of the block that it is, or is like, and its weights if it is new).

        Raises:
            ConfigError: The configuration does not say how many blocks there are, or needs to know each one's place.
        """
        try:
            count_layers(self.config, "decoder", [place for place, _ in order])
        except ExportError as error:
            raise ConfigError(f"no block can be added to this model: {error}") from error
        self.blocks = [_copied(self.blocks[place]) if new is None else new for place, new in order]
        self.new_blocks = [place for place, (_, new) in enumerate(order) if new is not None]

    def drawn(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Random weights as the model's own are at birth, of the shape and dtype of `like`."""
        std = float(getattr(self.config, "initializer_range", 0.02))
        return (torch.randn(like.shape, generator=generator) * std).to(like)


def take_apart(model: Any) -> Parts:
    """Copy a model's configuration and weights.

    Raises:
        BaseModelError: It has not one stack of blocks with Llama's names, or its weights are not plain numbers.
    """
    stacks = block_stacks(model)
    kind = type(model).__name__
    if len(stacks) != 1 or getattr(model.config, "is_encoder_decoder", False):
        raise BaseModelError(f"{kind} has {len(stacks)} stacks of blocks; operators take models with one, as Llama's")
    [(stack, blocks)] = stacks.items()
    weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for place in range(len(blocks)):
        missing = [n for n in (*_READERS, *WRITERS) if f"{stack}.{place}.{n}.weight" not in weights]
        if missing:
            raise BaseModelError(
                f"a block of {kind} has no {missing[0]}; operators take models whose blocks are named as Llama's"
            )
    if any(type(parameter) is not torch.nn.Parameter for parameter in model.parameters()):
        raise BaseModelError(f"weights of {kind} are quantised; give the model in full precision")
    parts = Parts(config=copy.deepcopy(model.config), stack=stack, blocks=[], outside={})
    parts.blocks = [
        {name.removeprefix(inside): tensor for name, tensor in weights.items() if name.startswith(inside)}
        for inside in (f"{stack}.{place}." for place in range(len(blocks)))
    ]
    parts.outside = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{stack}.")}
    return parts


def silent(block: Mapping[str, Tensor]) -> Block:
    """A copy of a block that adds nothing to the stream."""
    writes = tuple(f"{name}.{part}" for name in WRITERS for part in ("weight", "bias"))
    return {name: torch.zeros_like(weight) if name in writes else weight.clone() for name, weight in block.items()}


def inserted(parts: Parts, num_groups: int, new: Sequence[Block]) -> list[tuple[int, Block | None]]:
    """The order with one new block after each of so many groups of equally many blocks.

    Raises:
        ConfigError: The blocks cannot be divided so.
    """
    if num_groups < 1 or parts.num_blocks % num_groups:
        raise ConfigError(
            f"{parts.num_blocks} blocks cannot be divided into {num_groups} groups of equally many; give a number that "
            f"divides {parts.num_blocks}"
        )
    size = parts.num_blocks // num_groups
    order: list[tuple[int, Block | None]] = []
    for group in range(num_groups):
        order += [(place, None) for place in range(group * size, (group + 1) * size)]
        order.append(((group + 1) * size - 1, new[group]))
    return order


def ends_of_groups(parts: Parts, num_groups: int) -> list[int]:
    """The place of the last block of each group."""
    size = parts.num_blocks // max(1, num_groups)
    return [(group + 1) * size - 1 for group in range(num_groups)]


def choose(num: int, num_wanted: int, generator: torch.Generator) -> Int64[Tensor, " wanted"]:
    """Net2Net's choice: unit j of the larger layer is unit j of the smaller one, and a random one beyond that."""
    more = torch.randint(num, (num_wanted - num,), generator=generator)
    return torch.cat([torch.arange(num), more])


def _copied(block: Block) -> Block:
    return {name: weight.clone() for name, weight in block.items()}
