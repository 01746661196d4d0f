"""What sealed text of a given size can show at all."""

from math import inf

import numpy as np

from saint.records import Claim
from saint.statistics import documents_needed, log_e_value, log_tail_p_value

_MOST_DOCUMENTS = 1 << 20
_MOST_EFFECT = 5.0  # deviations: where differences are clipped
_NUM_HALVINGS = 20


def effect_needed(deviation: float, num_documents: int, log_threshold: float) -> float:
    """How far a mean must lie above what a claim asks, for so many documents to show it four times out of five.

    Args:
        deviation: Standard deviation of the documents' differences.

    Returns:
        In the unit of the deviation; infinite where no effect would do.
    """
    if deviation == 0:
        return 0.0
    clip = _MOST_EFFECT

    def suffices(effect: float) -> bool:
        return documents_needed(effect, 1.0, log_threshold, clip=clip) <= num_documents

    low, high = 0.0, _MOST_EFFECT
    if not suffices(high):
        return inf
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high * deviation


def fewest_documents(claim: Claim, log_threshold: float) -> int:
    """How many documents a claim takes at the very least: each saving as much as counts, none losing any."""

    def suffices(num: int) -> bool:
        if claim.test == "rate":
            return -log_tail_p_value(0, num, at_most=claim.above) >= log_threshold
        tail = claim.at_most_heavy >= 1 or -log_tail_p_value(0, num, at_most=claim.at_most_heavy) >= log_threshold
        best = np.full(num, claim.clip)
        return tail and log_e_value(best, above=claim.above, clip=claim.clip) >= log_threshold

    high = 2
    while not suffices(high) and high < _MOST_DOCUMENTS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
