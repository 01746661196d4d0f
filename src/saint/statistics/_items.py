"""Intervals for what was measured item by item: means, rates, and how much a rate rose."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from saint.errors import DataError
from saint.records import Interval
from saint.statistics._interval import student_quantile

_LEVEL = 0.95


def mean_interval(values: Float64[np.ndarray, " items"], *, level: float = _LEVEL) -> Interval:
    """The mean of independent items, with Student's interval.

    Raises:
        DataError: There are fewer than two items, or a value is not a number.
    """
    n = _checked(values)
    estimate, error = float(values.mean()), float(values.std(ddof=1)) / sqrt(n)
    half = student_quantile((1 + level) / 2, n - 1) * error
    return _around(estimate, low=estimate - half, high=estimate + half, error=error, n=n)


def rate_interval(flags: Float64[np.ndarray, " items"], *, level: float = _LEVEL) -> Interval:
    """The share of items that are 1 and not 0, with Wilson's interval, which is not empty where the share is 0 or 1.

    Raises:
        DataError: There are fewer than two items, or a value is not a number.

    Source:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    n = _checked(flags)
    rate = float(flags.mean())
    low, high = wilson(rate, n, _quantile(level))
    return _around(rate, low=low, high=high, error=sqrt(rate * (1 - rate) / n), n=n)


def paired_rate_interval(
    before: Float64[np.ndarray, " items"], after: Float64[np.ndarray, " items"], *, level: float = _LEVEL
) -> Interval:
    """How much a rate rose on the same items: the share that turned 1 less the share that turned 0.

    Student's interval would be empty where no item turned, however few there are. So Wilson's intervals of both shares
    are put together by the method of variance estimates recovery, with their correlation as cells of one multinomial.

    Raises:
        DataError: There are fewer than two items, or a value is not a number.

    Source:
        Zou and Donner 2008, doi:10.1002/sim.3095; Newcombe 1998,
        doi:10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C.
    """
    n = _checked(before + after)
    worse, better = float((after > before).mean()), float((before > after).mean())
    rise = worse - better
    z = _quantile(level)
    (worse_low, worse_high), (better_low, better_high) = wilson(worse, n, z), wilson(better, n, z)
    spreads = worse * (1 - worse) * better * (1 - better)
    correlation = -worse * better / sqrt(spreads) if spreads else 0.0
    return _around(
        rise,
        low=max(-1.0, rise - joined(worse - worse_low, better_high - better, correlation)),
        high=min(1.0, rise + joined(worse_high - worse, better - better_low, correlation)),
        error=sqrt(max(0.0, worse + better - rise**2) / n),
        n=n,
    )


def joined(one: float, other: float, correlation: float) -> float:
    """Half the width for a difference, from the halves for its parts."""
    return sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))


def wilson(rate: float, n: int | float, quantile: float) -> tuple[float, float]:
    """The ends of Wilson's interval for a rate among n items."""
    z2 = quantile**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _checked(values: Float64[np.ndarray, " items"]) -> int:
    if len(values) < 2:
        raise DataError(f"an interval needs at least 2 items, got {len(values)}; give more")
    if not np.isfinite(values).all():
        raise DataError(f"item {int(np.flatnonzero(~np.isfinite(values))[0])} has a value that is not a number")
    return len(values)


def _around(estimate: float, *, low: float, high: float, error: float, n: int) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, standard_error=error, num_documents=n)
