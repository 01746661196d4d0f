"""What a parameter is expected to buy, compared within a role; roles take turns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, final

from typing_extensions import override

from saint.candidates import Offer, Policy, take_turns


@final
class SensitivityFirst(Policy):
    """Squared sensitivity per parameter, to first order what a parameter buys, ranked among sites of the same roles.

    Roles take turns, the one with the best candidate first. Measured over all 36 sites of a small model against what
    they gained when they were trained, gradient norms rank with a Spearman correlation of 0.33 to 0.38, within one role
    of 0.6 to 0.95: how much a score says differs from role to role.
    """

    reference: ClassVar[str] = "SAINT-G"

    @override
    def order(self, offers: Sequence[Offer], *, seed: int) -> list[Offer]:
        queues = defaultdict[str, list[Offer]](list)
        for offer in sorted(offers, key=_per_parameter, reverse=True):
            queues[offer.group].append(offer)
        return take_turns(queues.values())


def _per_parameter(offer: Offer) -> float:
    return offer.worth / offer.price.num_params
