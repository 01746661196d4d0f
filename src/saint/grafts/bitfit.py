"""A change of a linear map's bias and of nothing else."""

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
class Bitfit(Kind):
    """y + s b, with b: (d_out,) zero at birth: the bias of a linear map, trained alone (Ben Zaken et al. 2022).

    It also works where the map has no bias. Folded, it needs one: merging gives the model biases if its architecture
    has a setting for them (`attention_bias`, `mlp_bias` of a Llama) and says so if it has none.
    """

    reference: ClassVar[str] = "arXiv:2106.10199"
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

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        shift = self.strength * self.b
        return weight, shift if bias is None else bias + shift
