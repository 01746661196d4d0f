"""The most expected gain for what is scarcest first."""

from collections.abc import Sequence
from typing import ClassVar, final

from typing_extensions import override

from saint.candidates import Offer, Policy


@final
class BudgetFirst(Policy):
    """Squared sensitivity per share of the limit that a candidate takes most of; at equal ratios the cheapest first.

    Of parameters, stored bytes, added FLOPs and parameters in a block that is the one it would use up soonest. It is
    the greedy rule for the knapsack problem (Dantzig 1957, the source).
    """

    reference: ClassVar[str] = "doi:10.1287/opre.5.2.266"

    @override
    def order(self, offers: Sequence[Offer], *, seed: int) -> list[Offer]:
        return sorted(offers, key=lambda offer: (-offer.worth / offer.share, offer.share))
