"""A short line search for a candidate's learning rate: the same candidate at several rates, and the best of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

from saint.grafts import History
from saint.records import Candidate

FACTORS = (1 / 3, 1.0, 3.0)


def rate_tries(candidate: Candidate, factors: Sequence[float] = FACTORS) -> list[Candidate]:
    """The same candidate at its learning rate times each factor, for training together.

    They are born alike and read the same text, so that all that tells their losses apart is the rate.
    """
    return [replace(candidate, lr=candidate.lr * factor) for factor in factors]


def best_try(tries: Sequence[Candidate], histories: Sequence[History | None]) -> Candidate | None:
    """The candidate that came to the lowest loss on *select*; of equals the one with the lowest rate.

    Args:
        histories: How each went; None for one that came to nothing.

    Returns:
        None if all came to nothing.
    """
    finished = [
        (history.best_bpb, candidate.lr, index)
        for index, (candidate, history) in enumerate(zip(tries, histories, strict=True))
        if history is not None and history.best_bpb is not None and math.isfinite(history.best_bpb)
    ]
    return tries[min(finished)[2]] if finished else None
