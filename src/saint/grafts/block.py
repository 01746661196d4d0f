"""A residual block on the residual stream, after a Transformer block."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError
from saint.grafts import Kind, Place
from saint.grafts._activations import ACTIVATIONS, Activation
from saint.grafts._thin import widen
from saint.records import Site, SiteSort


@final
class Block(Kind):
    """h + s down(act(up(h))), with up: (width, d) random and down: (d, width) zero at birth; no biases.

    A bottleneck adapter (Houlsby et al. 2019). `gated` makes it h + s down(act(gate(h)) * up(h)) with gate: (width, d)
    random, a gated linear unit (Shazeer 2020, arXiv:2002.05202). It is not linear, so it cannot be folded into weights.
    """

    reference: ClassVar[str] = "arXiv:1902.00751"
    formula: ClassVar[str] = "(2 + gated) width d"
    effective_formula: ClassVar[str] = "(2 + gated) width d - width ((activation == 'relu') + gated)"
    attaches_to: ClassVar[SiteSort] = "block"
    can_fold: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"width": 4},
        {"width": 1, "activation": "relu"},
        {"width": 3, "activation": "gelu", "gated": True},
        {"width": 2, "activation": "silu", "gated": True},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Width of the waist, and what is in it."""

        width: int
        """Channels between the way up and the way down; from 1."""
        activation: Activation = "silu"
        gated: bool = False
        """Whether a second way up, through the activation, multiplies the first."""

        def __post_init__(self) -> None:
            """Refuse an empty waist."""
            if self.width < 1:
                raise ConfigError(f"width is {self.width}; it must be at least 1")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[options.activation]
        self.up = nn.Parameter(torch.zeros(options.width, site.d_out))
        self.gate = nn.Parameter(torch.zeros(options.width, site.d_out)) if options.gated else None
        self.down = nn.Parameter(torch.zeros(site.d_out, options.width))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return (2 + options.gated) * options.width * site.d_out

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.03 / float(options.width**0.25)

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        # What multiplies a channel by c > 0 before a relu, or beside a gate, is undone by 1 / c on its way down.
        free_scales = (options.activation == "relu") + options.gated
        return cls.num_params(site, options) - options.width * free_scales

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        for way_up in (self.up, self.gate):
            if way_up is not None:
                way_up.copy_(torch.randn(way_up.shape, generator=generator) / sqrt(way_up.shape[1]))

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        waist = F.linear(y, self.up)
        waist = self._activation(waist) if self.gate is None else self._activation(F.linear(y, self.gate)) * waist
        return y + widen(waist, self.strength * self.down)
