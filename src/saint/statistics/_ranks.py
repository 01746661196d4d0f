"""Whether one sample tends to lie above another, whatever the distributions."""

from functools import lru_cache
from itertools import accumulate
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from saint.errors import DataError

_FEWEST = 8  # of each: below that the normal approximation of the rank sum is poor
_MOST_PAIRS = 4096  # up to which all orders are counted


def rank_p_value(one: Float64[np.ndarray, " m"], other: Float64[np.ndarray, " n"]) -> float:
    """How likely it is that `one` lies as far above `other` by chance: Mann and Whitney's test, one-sided.

    Exact for up to 4,096 pairs without ties; else the normal approximation with corrections for ties and continuity.

    Raises:
        DataError: One side is empty, a value is not a finite number, or there are ties, or many pairs, with fewer than
            8 values on a side.

    Source:
        Mann and Whitney 1947, doi:10.1214/aoms/1177730491.
    """
    m, n = len(one), len(other)
    both = np.concatenate([one, other])
    if not np.isfinite(both).all():
        raise DataError("a value is not a finite number, so it has no rank; measure it again")
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = float(ranks[:m].sum()) - m * (m + 1) / 2  # pairs that `one` wins
    is_exact = m * n <= _MOST_PAIRS and len(counts) == m + n
    if min(m, n) < (1 if is_exact else _FEWEST):
        raise DataError(
            f"a test of ranks needs at least {_FEWEST} values on each side, or one each without ties, got {m} and {n}; "
            "give more"
        )
    if is_exact:
        return _shares_of_orders(m, n)[m * n - round(above)]
    return _by_the_normal(above, m, n, counts.astype(np.float64))


@lru_cache(maxsize=8)
def _shares_of_orders(m: int, n: int) -> list[float]:
    """Of all orders of m and n values, the share in which at most so many pairs are won: counted in whole numbers.

    The numbers of orders by pairs won are the coefficients of prod_i (1 - q^(n + i)) / (1 - q^i), i from 1 to m.
    """
    ways = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for won in range(m * n, n + i - 1, -1):
            ways[won] -= ways[won - n - i]
        for won in range(i, m * n + 1):
            ways[won] += ways[won - i]
    total = comb(m + n, m)
    return [count / total for count in accumulate(ways)]


def _by_the_normal(above: float, m: int, n: int, counts: Float64[np.ndarray, " values"]) -> float:
    """The chance of at least so many pairs won, a tie counting as half.

    Args:
        counts: How often each value is there.
    """
    ties = float((counts**3 - counts).sum())
    variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    if variance == 0:
        return 1.0  # all values are the same
    return NormalDist().cdf(-(above - m * n / 2 - 0.5) / sqrt(variance))
