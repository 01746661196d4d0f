"""The highest expected gain first, whatever it costs."""

from collections.abc import Sequence
from typing import ClassVar, final

from typing_extensions import override

from saint.candidates import Offer, Policy, cheapest_among_equals

_NEARLY = 0.95


@final
class QualityFirst(Policy):
    """The highest squared sensitivity, summed over the sites; of those within 5 % of it the cheapest goes first.

    For a budget that is ample: sums over many sites win, so that large bundles and sites of wide layers come first.
    """

    reference: ClassVar[str] = "SAINT-G"

    @override
    def order(self, offers: Sequence[Offer], *, seed: int) -> list[Offer]:
        return cheapest_among_equals(
            offers,
            gain=lambda offer: offer.worth,
            equal_from=lambda best: _NEARLY * best.worth,
            price=lambda offer: offer.share,
        )
