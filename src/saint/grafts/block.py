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
from saint.records import Site, SiteSort


@final
class Block(Kind):
    """h + s down(silu(up(h))), with up: (width, d) random and down: (d, width) zero at birth; no biases.

    A bottleneck adapter with SiLU. It is not linear, so it cannot be folded into weights.
    """

    reference: ClassVar[str] = "arXiv:1902.00751"
    formula: ClassVar[str] = "2 width d"
    attaches_to: ClassVar[SiteSort] = "block"
    can_fold: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"width": 4},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Width of the waist."""

        width: int

        def __post_init__(self) -> None:
            """Refuse an empty waist."""
            if self.width < 1:
                raise ConfigError(f"width is {self.width}; it must be at least 1")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(options.width, site.d_out))
        self.down = nn.Parameter(torch.zeros(site.d_out, options.width))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return 2 * options.width * site.d_out

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.up.copy_(torch.randn(self.up.shape, generator=generator) / sqrt(self.up.shape[1]))

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + F.linear(F.silu(F.linear(y, self.up)), self.strength * self.down)
