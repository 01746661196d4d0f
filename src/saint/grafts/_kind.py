from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from saint.records import Site, SiteSort


class LowRankFactors(NamedTuple):
    """A change of a linear map's weight as a product: dW = up @ down."""

    up: Float[Tensor, "d_out rank"]
    down: Float[Tensor, "rank d_in"]


class Kind(nn.Module, ABC):
    """What a graft of one kind adds at one site of a frozen base. A class is abstract or final.

    Newborn, it leaves the site's output as it is, to the bit; training moves it from there. `__init__` fixes the
    shapes (all zeros, so that stored weights can be loaded over them), `bear` gives it its start.
    """

    Options: ClassVar[type]
    """A frozen dataclass: what a candidate of this kind may choose."""
    reference: ClassVar[str]
    """Where the idea is from: an arXiv number, a DOI, or "SAINT-G"."""
    formula: ClassVar[str]
    """How many parameters it trains at a site, in the options' names and d_in, d_out."""
    attaches_to: ClassVar[SiteSort]
    """The sort of site it can be at."""
    can_fold: ClassVar[bool]
    """Whether its change can be folded into the site's weight, so that it costs nothing at inference."""
    example: ClassVar[Mapping[str, int | float | str]]
    """Small options that work, for the conformance suite and the reference page."""

    strength: Tensor
    """What its whole change is multiplied by: 1 as trained, less to keep more of the base. Shape ()."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.ones(()))

    @classmethod
    @abstractmethod
    def num_params(cls, site: Site, options: Any) -> int:
        """How many parameters a graft of this kind would train at `site`."""

    @abstractmethod
    def bear(self, site_weight: Float[Tensor, "d_out d_in"] | None, generator: torch.Generator) -> None:
        """Set the start of a newborn from the frozen weight of its site (None at a block) and from chance."""

    @override
    @abstractmethod
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The site's new output, from its input `x` and the output `y` that base and earlier grafts gave."""

    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None] | None:
        """The site's weight and bias with this change folded in, or None for a kind that cannot be folded."""
        factors = self.factors()
        return None if factors is None else (weight + factors.up @ factors.down, bias)

    def factors(self) -> LowRankFactors | None:
        """The change as low-rank factors, strength included, or None when it is not a change of a weight."""
        return None
