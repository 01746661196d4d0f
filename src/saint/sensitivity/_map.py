from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, final

from saint.records import Site
from saint.sensitivity._seen import Seen


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NoOptions:
    """A map that leaves nothing to choose."""


class Map(ABC):
    """Scores sites from what flows through them; all sites of a batch are shown in one pass.

    A score is an amplitude: `saint.propose` ranks candidates by its square, summed over their sites, per parameter. A
    map that estimates a decrease of the loss gives its root.
    """

    reference: ClassVar[str]
    """Where the idea is from."""
    formula: ClassVar[str]
    """The score in one line: x, y input and output, g the gradient at y, G = sum g x^T, W the weight."""
    needs_gradient: ClassVar[bool] = True
    """Whether it reads gradients; if no map does, there is no backward pass."""
    needs_sequences: ClassVar[bool] = False
    """Whether it looks at the gradients of the sequences one by one."""
    Options: ClassVar[type] = NoOptions
    """What may be chosen: a frozen dataclass in which everything has a default."""

    def __init__(self, options: Any = None) -> None:
        """Begin with nothing seen.

        Args:
            options: An instance of the map's `Options`; the defaults if left out.
        """
        self.options: Any = type(self).Options() if options is None else options

    def scores_site(self, site: Site) -> bool:  # noqa: ARG002 - a map may look at it
        """Whether the map has a score for such a site; it is shown no other."""
        return True

    @abstractmethod
    def observe(self, site: Site, seen: Seen) -> None:
        """Take in what one site saw in one batch."""

    @abstractmethod
    def scores(self) -> dict[str, float]:
        """Site key -> score over all batches; higher means that a change there is worth more."""
