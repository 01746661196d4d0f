from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch

from saint.operators._parts import Parts

Preserves = Literal["to the bit", "to rounding", "no"]


class Operator(ABC):
    """Makes of a Llama-like model a larger one of the same class, all of whose weights then learn as ordinary ones.

    An operator is a frozen dataclass; its fields are the settings that a user may give it.
    """

    reference: ClassVar[str]
    """Where it was published: arXiv number or DOI."""

    @property
    @abstractmethod
    def preserves(self) -> Preserves:
        """Whether the larger model answers as the smaller one did, with these settings."""

    @abstractmethod
    def enlarge(self, parts: Parts, generator: torch.Generator) -> None:
        """Change the configuration and the weights in `parts` into those of the larger model.

        Args:
            parts: Copies: what it was taken from stays as it is.
            generator: All that is drawn is drawn from it.

        Raises:
            ConfigError: The settings do not fit this model.
        """
