"""What a decoder computes for a token, on paper: floating-point operations from the sizes of its linear maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from saint.errors import ConfigError
from saint.models._frozen import FrozenBase
from saint.models._structure import block_stacks

_ORDER: Mapping[str, int] = {"o": 1, "gate": 2, "up": 2, "gate_up": 2, "down": 3}
"""Role -> where in a block its maps are; the others are at its entrance."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCost:
    """Operations per token of the forward pass through one block."""

    maps: tuple[int, ...]
    """Of its linear maps: those at the entrance, the attention's output, the way up, the way down."""
    attention: int
    """Of scores and mixing, a token seeing half of the others on average."""

    @property
    def total(self) -> int:
        """Of the whole block."""
        return sum(self.maps) + self.attention

    def backward(self, order: int) -> int:
        """For the gradient of what goes in, when what learns in the block begins at this place; weights have none.

        A gradient passes through a product for as many operations as the product took. What lies before the first
        place that learns gets none, nor does the input of that place itself.
        """
        through = sum(self.maps[order + 1 :])
        return through + (2 * self.attention if order == 0 else 0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardCost:
    """Operations per token of a forward pass, at one length of text; norms, activations and the like do not count."""

    seq_len: int
    blocks: tuple[BlockCost, ...]
    head: int

    @property
    def total(self) -> int:
        """Of the whole model."""
        return self.above(0)

    @property
    def followed(self) -> int:
        """Of a forward pass, and of a backward pass to every input with no gradient of any weight."""
        return 2 * self.total + sum(block.attention for block in self.blocks)

    def above(self, boundary: int) -> int:
        """Of the blocks from `boundary` on, and the head."""
        return sum(block.total for block in self.blocks[boundary:]) + self.head


def order_of(role: str) -> int:
    """Where in a block the maps of a role are: 0 at the entrance, then attention's output, the way up, the way down."""
    return _ORDER.get(role, 0)


def forward_cost(base: FrozenBase, *, seq_len: int) -> ForwardCost:
    """The cost model of `base`: each weight of a linear map once, and causal attention over `seq_len` tokens.

    Raises:
        ConfigError: The base is not a decoder with one stack of blocks.
    """
    stacks = block_stacks(base.model)
    if len(stacks) != 1 or getattr(base.model.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"the cost model is of decoders with one stack of blocks, and this base has {len(stacks)}; give such a base"
        )
    [modules] = stacks.values()
    maps = [[0] * (1 + max(_ORDER.values())) for _ in modules]
    attention, head = [0] * len(modules), 0
    for site in base.sites():
        if site.sort != "linear":
            continue
        if site.depth < 0:
            head += 2 * site.d_in * site.d_out if site.role == "head" else 0
            continue
        maps[site.depth][order_of(site.role)] += 2 * site.d_in * site.d_out
        if site.role == "o":
            attention[site.depth] += 2 * seq_len * site.d_in
    blocks = tuple(BlockCost(maps=tuple(there), attention=a) for there, a in zip(maps, attention, strict=True))
    return ForwardCost(seq_len=seq_len, blocks=blocks, head=head)
