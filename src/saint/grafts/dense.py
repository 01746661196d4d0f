"""A change of every entry of a weight: the control that has no structure at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.grafts import Kind, Place
from saint.records import Site, SiteSort


@final
class Dense(Kind):
    """dW = s D, with D: (d_out, d_in) zero at birth: fine-tuning of one whole weight, kept apart from it.

    The full-module control: what a structured change of the same site gives away is what this one gains more.
    """

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "d_out d_in"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """It has none."""

    def __init__(self, site: Site, options: Options) -> None:  # noqa: ARG002 - every kind is made from both
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(site.d_out, site.d_in))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return site.d_out * site.d_in

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.025

    @override
    def bear(self, place: Place, generator: torch.Generator) -> None:
        """Zero is its start."""

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + self.strength * F.linear(x, self.delta)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        return weight + self.strength * self.delta, bias
