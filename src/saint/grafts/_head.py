"""What new layers at the top of a model may bring with them: a change of every entry of the output head."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.grafts import Kind, Place
from saint.records import Site, SiteSort


@final
class HeadChange(Kind):
    """y + s (D x + b), with D: (V, d) and b: (V,) zero at birth: the head learns on, kept apart from what it was.

    However many grafts of a stack change the head, it is one product with the sum of their weights.
    """

    reference: ClassVar[str] = "arXiv:2507.07129"
    formula: ClassVar[str] = "d_out d_in + head_bias d_out"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    is_weight: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __init__(self, site: Site, options: Any) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(site.d_out, site.d_in))
        self.bias = nn.Parameter(torch.zeros(site.d_out)) if options.head_bias else None

    @override
    @classmethod
    def num_params(cls, site: Site, options: Any) -> int:
        return site.d_out * (site.d_in + int(options.head_bias))

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Any) -> float:
        return 0.008

    @override
    def bear(self, place: Place, generator: torch.Generator) -> None:
        """Zero is its start."""

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + self.strength * F.linear(x, self.delta, self.bias)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        own = None if self.bias is None else self.strength * self.bias
        together = own if bias is None else bias if own is None else bias + own
        return weight + self.strength * self.delta, together
