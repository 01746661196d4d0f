"""Units more than once, sharing what they say."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Int64
from torch import Tensor
from typing_extensions import override

from saint.errors import ConfigError
from saint.operators._operator import Operator, Preserves
from saint.operators._parts import Parts, choose
from saint.operators._widths import (
    heads_of,
    shares,
    spread,
    wanted_groups,
    wanted_inner,
    widen_heads,
    widen_inner,
)

_UP = ("mlp.up_proj.weight", "mlp.gate_proj.weight")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Net2Net(Operator):
    """Net2WiderNet: channels and heads beyond those that are there are copies of random ones.

    What a unit gives to the next layer is divided by how often it is there. With mapping g: W'[j, :] = W[g(j), :] on
    the way in and V'[:, j] = V[:, g(j)] / #{i: g(i) = g(j)} on the way out. Heads that share a key and a value are one
    unit. The width of the residual stream stays.
    """

    reference: ClassVar[str] = "arXiv:1511.05641"

    inner: float = 2.0
    """How many times as many channels each MLP has."""
    heads: float = 1.0
    """How many times as many heads there are, for models whose configuration has a head_dim."""
    noise: float = 0.0
    """Random change of copies' weights in each MLP, as a share of their standard deviation: copies without one learn
    the same for ever. With noise the function changes."""

    def __post_init__(self) -> None:
        """Refuse what makes nothing larger."""
        if max(self.inner, self.heads) <= 1:
            raise ConfigError(f"inner is {self.inner:g} and heads {self.heads:g}; one of them must be above 1")
        if self.noise < 0 or (self.noise and self.inner <= 1):
            raise ConfigError(f"noise is {self.noise:g}; it must not be negative, and is for copies of channels")

    @property
    @override
    def preserves(self) -> Preserves:
        return "no" if self.noise else "to rounding"

    @override
    def enlarge(self, parts: Parts, generator: torch.Generator) -> None:
        inner, before = wanted_inner(parts, self.inner), int(parts.config.intermediate_size)
        groups = wanted_groups(parts, self.heads)
        if inner > before:
            units = [choose(before, inner, generator) for _ in parts.blocks]
            widen_inner(parts.config, parts.blocks, units)
            self._share(parts, "mlp.down_proj.weight", units, [shares(one) for one in units])
            self._disturb(parts, before, generator)
        num_before = int(parts.config.num_key_value_heads)
        if groups > num_before:
            chosen = [choose(num_before, groups, generator) for _ in parts.blocks]
            rows = heads_of(parts.config)[0]
            widen_heads(parts.config, parts.blocks, chosen)
            columns = [spread(one, rows) for one in chosen]
            each = [shares(one).repeat_interleave(rows) for one in chosen]
            self._share(parts, "self_attn.o_proj.weight", columns, each)

    @staticmethod
    def _share(parts: Parts, name: str, columns: list[Int64[Tensor, " wanted"]], each: list[Tensor]) -> None:
        """Take the columns of each block's map, each times its share."""
        for block, chosen, share in zip(parts.blocks, columns, each, strict=True):
            block[name] = (block[name][:, chosen].double() * share.to(block[name].device)).to(block[name])

    def _disturb(self, parts: Parts, before: int, generator: torch.Generator) -> None:
        for block in parts.blocks if self.noise else []:
            for weight in (block[name] for name in _UP if name in block):
                drawn = torch.randn(weight[before:].shape, generator=generator)
                weight[before:] += (drawn * self.noise * float(weight.float().std())).to(weight)
