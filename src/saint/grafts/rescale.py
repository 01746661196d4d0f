"""One factor for each output channel of a linear map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from saint.grafts import Kind, Place
from saint.records import Site, SiteSort


@final
class Rescale(Kind):
    """(1 + s v) * y, with v: (d_out,) zero at birth: each output channel times a factor, known as (IA)^3.

    Liu et al. 2022 put it on keys, values and the inside of the feed-forward block. Those are the outputs of the roles
    `k`, `v` and, in an MLP with a gate, `up`; without a gate `up` is before the activation, where a factor does not do
    what one after it does. It multiplies the bias too, and whatever the grafts below it gave: stacked, order matters.
    """

    reference: ClassVar[str] = "arXiv:2205.05638"
    formula: ClassVar[str] = "d_out"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """It has none."""

    def __init__(self, site: Site, options: Options) -> None:  # noqa: ARG002 - every kind is made from both
        super().__init__()
        self.v = nn.Parameter(torch.zeros(site.d_out))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return site.d_out

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.5

    @override
    def bear(self, place: Place, generator: torch.Generator) -> None:
        """Zero is its start."""

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y * (1 + self.strength * self.v)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        factor = 1 + self.strength * self.v
        return factor.unsqueeze(1) * weight, None if bias is None else factor * bias
