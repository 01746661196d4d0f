from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saint.records import Site


class Map(ABC):
    """Scores sites from what flows through them; all sites of a batch are shown in one backward pass."""

    reference: ClassVar[str]
    """Where the idea is from."""

    @abstractmethod
    def observe(self, site: Site, x: Float[Tensor, "tokens d_in"], gradient: Float[Tensor, "tokens d_out"]) -> None:
        """Take in one batch at one site.

        Args:
            x: The site's input; at a block site the residual stream itself.
            gradient: Of the batch's mean loss with respect to the site's output.
        """

    @abstractmethod
    def scores(self) -> dict[str, float]:
        """Site key -> score over all batches; higher means that a change there is worth more."""
