"""Whether one sample tends to lie above another, whatever the distributions."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from saint.errors import DataError

_FEWEST = 8  # of each: below that the normal approximation of the rank sum is poor


def rank_p_value(one: Float64[np.ndarray, " m"], other: Float64[np.ndarray, " n"]) -> float:
    """How likely it is that `one` lies as far above `other` by chance: Mann and Whitney's test, one-sided.

    The normal approximation with corrections for ties and continuity.

    Raises:
        DataError: There are fewer than 8 of either, or one is no number.

    Source:
        Mann and Whitney 1947, doi:10.1214/aoms/1177730491.
    """
    m, n = len(one), len(other)
    both = np.concatenate([one, other])
    if min(m, n) < _FEWEST:
        raise DataError(f"a test of ranks needs at least {_FEWEST} values on each side, got {m} and {n}; give more")
    if not np.isfinite(both).all():
        raise DataError("a value is not a number, so it has no rank; measure it again")
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = float(ranks[:m].sum()) - m * (m + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    if variance == 0:
        return 0.5
    return NormalDist().cdf(-(above - m * n / 2 - 0.5) / sqrt(variance))
