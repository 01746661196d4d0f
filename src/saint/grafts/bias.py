"""A vector added to the residual stream: the smallest change that a block site can have."""

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
class Bias(Kind):
    """h + s b, with b: (d,) zero at birth: one parameter per channel of the residual stream after a block.

    The control for every kind at a block site: it sees no input, so a block that gains no more than this has learnt a
    constant. The residual stream has no weight to fold it into. At linear sites the same is called `bitfit`.
    """

    reference: ClassVar[str] = "arXiv:2106.10199"
    formula: ClassVar[str] = "d"
    attaches_to: ClassVar[SiteSort] = "block"
    can_fold: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """It has none."""

    def __init__(self, site: Site, options: Options) -> None:  # noqa: ARG002 - every kind is made from both
        super().__init__()
        self.b = nn.Parameter(torch.zeros(site.d_out))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return site.d_out

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.4

    @override
    def bear(self, place: Place, generator: torch.Generator) -> None:
        """Zero is its start."""

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + self.strength * self.b
