"""Low-rank changes of all that is in a model's blocks, new layers included, with the whole of its output head."""

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
from saint.grafts import Kind, LowRankFactors, Place
from saint.grafts._head import HeadChange
from saint.grafts._layer_adapters import LayerAdapters
from saint.grafts._thin import widen
from saint.records import Site, SiteSort


@final
class Readjust(Kind):
    """dW = s B A, with A: (rank, d_in) random and B: (d_out, rank) zero at birth; both are trained.

    LoRA (arXiv:2106.09685) for the phases of growth by layers in which everything that is frozen is readjusted under
    the budget of a stage (Bochkov 2025, arXiv:2507.07129). At an insertion point it changes the matrices of the layers
    that stand there in just this way; at the output head every entry, as a stage of new layers does.

    It is computed as part of the weights where that is possible: 2 rank d_in d_out operations a pass, however many
    tokens that has.
    """

    reference: ClassVar[str] = "arXiv:2507.07129"
    formula: ClassVar[str] = "rank (d_in + d_out)"
    effective_formula: ClassVar[str] = "rank (d_in + d_out - rank)"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    is_weight: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"rank": 2},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Rank of the change, and what is at sites of other sorts."""

        rank: int = 8
        layers: int = 0
        """New layers that stand at an insertion point; without effect elsewhere."""
        layer_width: int = 0
        """Rows and columns of all matrices of such a layer together; without effect elsewhere."""
        head_bias: bool = False
        """Whether it changes a bias of the output head too; without effect elsewhere."""

        def __post_init__(self) -> None:
            """Refuse what has no meaning."""
            if self.rank < 1 or min(self.layers, self.layer_width) < 0:
                raise ConfigError(
                    f"rank is {self.rank}, layers {self.layers} and layer_width {self.layer_width}; the first must be "
                    "at least 1, and the others not negative"
                )

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(options.rank, site.d_in))
        self.b = nn.Parameter(torch.zeros(site.d_out, options.rank))

    @override
    @classmethod
    def at(cls, site: Site) -> type[Kind]:
        if site.sort == "insertion":
            return LayerAdapters
        return HeadChange if site.sort == "linear" and site.role == "head" else cls

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.rank * (site.d_in + site.d_out)

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        return options.rank * (site.d_in + site.d_out - options.rank)  # B A = (B M) (M^-1 A) for any invertible M

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.a.copy_(torch.randn(self.a.shape, generator=generator) / sqrt(self.a.shape[1]))

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + widen(F.linear(x, self.a), self.strength * self.b)

    @override
    def factors(self) -> LowRankFactors:
        return LowRankFactors(up=self.strength * self.b, down=self.a)
