"""A control: whatever comes, whatever the scores."""

from collections.abc import Sequence
from typing import ClassVar, final

from typing_extensions import override

from saint import records
from saint.candidates import Offer, Policy


@final
class Random(Policy):
    """An order that depends on the seed and on what the candidates are, and on no score and no price.

    A policy that does not beat it knows nothing. Another candidate does not change the order of the others.
    """

    reference: ClassVar[str] = "SAINT-G"

    @override
    def order(self, offers: Sequence[Offer], *, seed: int) -> list[Offer]:
        return sorted(offers, key=lambda offer: records.digest([seed, offer.candidate]))
