from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar, final

from saint.candidates._price import Price
from saint.records import Candidate

T = TypeVar("T")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A candidate that fits the budget, with all that a policy may know: scores, and costs that are counted.

    No time is among them. What took longer depends on the machine and its load, and the same plan would come to other
    candidates each time.
    """

    candidate: Candidate
    group: str
    """Scores compare between offers of one group: they are at sites of the same roles, and are all a union or none."""
    worth: float
    """Squared sensitivity, summed over its sites: the expected gain up to a factor, which is another for each role."""
    price: Price
    share: float
    """Of the limit that it takes the largest share of; above 0, at most 1."""


class Policy(ABC):
    """In which order candidates are worth trying. It is asked for one proposal at a time; proposals take turns."""

    reference: ClassVar[str]
    """Where the idea is from: an arXiv number, a DOI, or "SAINT-G"."""

    @abstractmethod
    def order(self, offers: Sequence[Offer], *, seed: int) -> list[Offer]:
        """All of `offers`, the one to be tried first at the front.

        Args:
            offers: In an order that depends on nothing but what they are.
            seed: For a policy that draws; the others answer the same for each.
        """


def take_turns(queues: Iterable[Sequence[T]]) -> list[T]:
    """The first of each queue, then the second of each, as far as they reach."""
    queues = list(queues)
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def cheapest_among_equals(
    items: Iterable[T], *, gain: Callable[[T], float], equal_from: Callable[[T], float], price: Callable[[T], float]
) -> list[T]:
    """Highest gain first, except that the cheapest of those that are as good as the best goes before them.

    Args:
        equal_from: From which gain on another is as good as this one.
    """
    left, found = sorted(items, key=gain, reverse=True), []
    while left:
        equals = [place for place, item in enumerate(left) if gain(item) >= equal_from(left[0])]
        found.append(left.pop(min(equals, key=lambda place: price(left[place]))))
    return found
