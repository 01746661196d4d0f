"""Low-rank adaptation: the control that every other kind is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, LowRankFactors, Place
from saint.records import Site, SiteSort


@final
class Lora(Kind):
    """dW = s c B A, with A: (rank, d_in) random and B: (d_out, rank) zero at birth; both are trained.

    `scaling` chooses c: alpha / rank ("standard", Hu et al. 2021), or alpha / sqrt(rank) ("rank_stabilised", rsLoRA,
    Kalajdzievski 2023, arXiv:2312.03732), with which the change's size does not fall as the rank grows. A rank pattern
    is `at`: `{ rank = 8, at = { q = { rank = 2 } } }`.
    """

    reference: ClassVar[str] = "arXiv:2106.09685"
    formula: ClassVar[str] = "rank (d_in + d_out)"
    effective_formula: ClassVar[str] = "rank (d_in + d_out - rank)"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rank": 2, "alpha": 4.0},
        {"rank": 3, "alpha": 4.0, "scaling": "rank_stabilised"},
        {"rank": 1, "at": {"k": {"rank": 2}}},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Rank of the change, and its scale."""

        rank: int
        alpha: float | None = None
        """The rank unless given."""
        scaling: Literal["standard", "rank_stabilised"] = "standard"
        """What the product is multiplied by: alpha / rank, or alpha / sqrt(rank)."""

        def __post_init__(self) -> None:
            """Refuse an empty change."""
            if self.rank < 1:
                raise ConfigError(f"rank is {self.rank}; it must be at least 1")
            if self.alpha is not None and self.alpha <= 0:
                raise ConfigError(f"alpha is {self.alpha}; it must be positive")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if options.rank > min(site.d_in, site.d_out):
            raise SiteError(
                f"rank {options.rank} exceeds {site.key}, which is {site.d_out} x {site.d_in}; lower the rank"
            )
        alpha = options.rank if options.alpha is None else options.alpha
        self.scale = alpha / (options.rank if options.scaling == "standard" else sqrt(options.rank))
        self.a = nn.Parameter(torch.zeros(options.rank, site.d_in))
        self.b = nn.Parameter(torch.zeros(site.d_out, options.rank))

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
        return y + F.linear(F.linear(x, self.a), self.strength * self.scale * self.b)

    @override
    def factors(self) -> LowRankFactors:
        return LowRankFactors(up=self.strength * self.scale * self.b, down=self.a)
