"""Random new units behind masks that open while the model learns."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from saint.errors import ConfigError
from saint.operators._operator import Operator, Preserves
from saint.operators._parts import Block, Parts, ends_of_groups, inserted
from saint.operators._widths import heads_of, wanted_groups, wanted_inner, widen_heads, widen_inner


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Msg(Operator):
    """Masked structural growth: new channels, heads and blocks of any weights, times a mask that begins at 0.

    `Expansion.masks.value` opens it, over the first steps of training in the paper. The width of the residual stream
    stays: its masks reach into the norms, which an ordinary model has no place for. A model that is saved before its
    masks have opened has to have them folded in, which leaves zeros.
    """

    reference: ClassVar[str] = "arXiv:2305.02869"

    groups: int = 0
    """Into how many groups the blocks are divided, with a new block after each; 0 for no new block."""
    inner: float = 1.0
    """How many times as many channels each MLP has."""
    heads: float = 1.0
    """How many times as many heads there are, for models whose configuration has a head_dim."""

    def __post_init__(self) -> None:
        """Refuse what makes nothing larger."""
        if self.groups < 0 or (not self.groups and max(self.inner, self.heads) <= 1):
            raise ConfigError(
                f"groups is {self.groups}, inner {self.inner:g} and heads {self.heads:g}; one must add something"
            )

    @property
    @override
    def preserves(self) -> Preserves:
        """To the bit in depth: in width, sums over more numbers are taken in another order."""
        return "to the bit" if max(self.inner, self.heads) <= 1 else "to rounding"

    @override
    def enlarge(self, parts: Parts, generator: torch.Generator) -> None:
        if self.groups:
            like = [parts.blocks[place] for place in ends_of_groups(parts, self.groups)]
            parts.arrange(inserted(parts, self.groups, [self._block(parts, block, generator) for block in like]))
            parts.masked_blocks = list(parts.new_blocks)
        inner, before = wanted_inner(parts, self.inner), int(parts.config.intermediate_size)
        groups, num_before = wanted_groups(parts, self.heads), int(parts.config.num_key_value_heads)
        if inner > before:
            units = torch.cat([torch.arange(before), torch.zeros(inner - before, dtype=torch.int64)])
            widen_inner(parts.config, parts.blocks, [units] * parts.num_blocks)
            self._renew(parts, ("mlp.up_proj", "mlp.gate_proj"), before, generator)
            self._open(parts, "mlp.down_proj", inner - before, generator)
        if groups > num_before:
            queries, keys = heads_of(parts.config)
            chosen = torch.cat([torch.arange(num_before), torch.zeros(groups - num_before, dtype=torch.int64)])
            widen_heads(parts.config, parts.blocks, [chosen] * parts.num_blocks)
            self._renew(parts, ("self_attn.q_proj",), num_before * queries, generator)
            self._renew(parts, ("self_attn.k_proj", "self_attn.v_proj"), num_before * keys, generator)
            self._open(parts, "self_attn.o_proj", (groups - num_before) * queries, generator)

    @staticmethod
    def _block(parts: Parts, like: Block, generator: torch.Generator) -> Block:
        """A block as at birth: random maps, and what else there is, norms above all, as in the block before it."""
        return {
            name: parts.drawn(weight, generator)
            if weight.ndim > 1
            else torch.zeros_like(weight)
            if name.endswith("_proj.bias")
            else weight.clone()
            for name, weight in like.items()
        }

    @staticmethod
    def _renew(parts: Parts, names: tuple[str, ...], first: int, generator: torch.Generator) -> None:
        """Draw the rows from `first` on."""
        for block in parts.blocks:
            for name in names:
                if (weight := block.get(f"{name}.weight")) is not None:
                    weight[first:] = parts.drawn(weight[first:], generator)
                if (bias := block.get(f"{name}.bias")) is not None:
                    bias[first:] = 0

    @staticmethod
    def _open(parts: Parts, name: str, num_new: int, generator: torch.Generator) -> None:
        """Add random columns to the ways out, and put them behind the mask."""
        for place, block in enumerate(parts.blocks):
            weight: Tensor = block[f"{name}.weight"]
            more = parts.drawn(weight.new_empty(len(weight), num_new), generator)
            block[f"{name}.weight"] = torch.cat([weight, more], dim=1)
            is_new = torch.cat([torch.zeros(weight.shape[1]), torch.ones(num_new)])
            parts.masked_inputs[f"{parts.stack}.{place}.{name}"] = is_new
