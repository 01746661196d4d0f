"""A small trained matrix between two fixed bases of a weight."""

from collections.abc import Mapping
from dataclasses import dataclass
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
class Phi(Kind):
    """dW = s A Phi B, with A: (d_out, rank) and B: (rank, d_in) fixed and orthonormal, Phi: (rank, rank) zero at birth.

    `basis` chooses A and B: the principal singular vectors of the site's weight ("weight"; with a dense Phi this is
    LoRA-XS), or random ones ("random").
    """

    reference: ClassVar[str] = "arXiv:2405.17604"
    formula: ClassVar[str] = "rank^2"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"rank": 3}, {"rank": 2, "basis": "random"})

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Rank of the change, and where its bases come from."""

        rank: int
        basis: Literal["weight", "random"] = "weight"

        def __post_init__(self) -> None:
            """Refuse an empty matrix."""
            if self.rank < 1:
                raise ConfigError(f"rank is {self.rank}; it must be at least 1")

    a: Tensor
    b: Tensor

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if options.rank > min(site.d_in, site.d_out):
            raise SiteError(
                f"rank {options.rank} exceeds {site.key}, which is {site.d_out} x {site.d_in}; lower the rank"
            )
        self._basis = options.basis
        self.register_buffer("a", torch.zeros(site.d_out, options.rank))
        self.register_buffer("b", torch.zeros(options.rank, site.d_in))
        self.phi = nn.Parameter(torch.zeros(options.rank, options.rank))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.rank**2

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        rank = self.phi.shape[0]
        if self._basis == "random":
            a = torch.linalg.qr(torch.randn(self.a.shape[0], rank, generator=generator)).Q
            b = torch.linalg.qr(torch.randn(self.b.shape[1], rank, generator=generator)).Q.T
        else:
            weight = place.weight
            assert weight is not None  # the site is linear
            a, b = _principal_bases(weight.float().cpu(), rank, generator)
        self.a.copy_(a)
        self.b.copy_(b)

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + F.linear(F.linear(F.linear(x, self.b), self.strength * self.phi), self.a)

    @override
    def factors(self) -> LowRankFactors:
        return LowRankFactors(up=self.a @ (self.strength * self.phi), down=self.b)


_NUM_SPARE = 16
_NUM_POWER_STEPS = 4


def _principal_bases(
    weight: Float[Tensor, "d_out d_in"], rank: int, generator: torch.Generator
) -> tuple[Float[Tensor, "d_out rank"], Float[Tensor, "rank d_in"]]:
    """The `rank` leading left and right singular vectors.

    A full decomposition for small matrices or high ranks; else a randomised one, whose cost grows with the rank
    (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4).
    """
    num_kept = rank + _NUM_SPARE
    if 4 * num_kept >= min(weight.shape):
        u, _, v = torch.linalg.svd(weight, full_matrices=False)
        return u[:, :rank], v[:rank]
    q = torch.linalg.qr(weight @ torch.randn(weight.shape[1], num_kept, generator=generator)).Q
    for _ in range(_NUM_POWER_STEPS):
        q = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ q).Q).Q
    u, _, v = torch.linalg.svd(q.T @ weight, full_matrices=False)
    return q @ u[:, :rank], v[:rank]
