"""The ordinary bootstrap, with documents as what is drawn: for text that may be looked at, beside a gate's one bit."""

from math import log, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64, Int64

from saint.errors import ConfigError, DataError
from saint.records import Interval

_NORMAL = NormalDist()
_AT_ONCE = 1 << 22  # numbers in a block of resamples


def bootstrap_interval(
    before_nats: Float64[np.ndarray, " documents"],
    after_nats: Float64[np.ndarray, " documents"],
    num_bytes: Int64[np.ndarray, " documents"],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bits per byte saved, with the bias-corrected and accelerated bootstrap interval over documents.

    Args:
        before_nats: Total loss of each document under the model that is compared with.
        after_nats: The same under the other model; lower is better, so savings are positive.
        num_bytes: UTF-8 bytes of each document.
        num_resamples: Draws of as many documents as there are, with replacement.
        seed: Makes the draws the same each time.

    Raises:
        DataError: There are fewer than two documents, one has no bytes, or a loss is not a finite number.
        ConfigError: The level is no probability, or there are fewer than two resamples.

    Source:
        Efron 1987, doi:10.1080/01621459.1987.10478410.
    """
    saved, sizes = (before_nats - after_nats) / log(2), num_bytes.astype(np.float64)
    _must_be_measured(saved, sizes)
    if not 0 < level < 1 or num_resamples < 2:
        raise ConfigError(
            f"level is {level:g} and num_resamples {num_resamples}; give one between 0 and 1 and at least 2 resamples"
        )
    estimate = float(saved.sum() / sizes.sum())
    drawn = _resampled(saved, sizes, num_resamples, seed)
    low, high = (float(np.quantile(drawn, one)) for one in _levels(drawn, saved, sizes, estimate, level))
    return Interval(
        estimate=estimate, low=low, high=high, standard_error=float(drawn.std(ddof=1)), num_documents=len(saved)
    )


def _must_be_measured(saved: Float64[np.ndarray, " documents"], sizes: Float64[np.ndarray, " documents"]) -> None:
    if len(saved) < 2:
        raise DataError(f"an interval needs at least 2 documents, got {len(saved)}; give more text")
    if not np.isfinite(saved).all():
        raise DataError(f"document {int(np.flatnonzero(~np.isfinite(saved))[0])} has a loss that is not a number")
    if not (sizes > 0).all():
        raise DataError(f"document {int(np.flatnonzero(sizes <= 0)[0])} has no bytes; leave it out")


def _resampled(
    saved: Float64[np.ndarray, " documents"], sizes: Float64[np.ndarray, " documents"], num: int, seed: int
) -> Float64[np.ndarray, " resamples"]:
    """The ratio in each resample."""
    random, n = np.random.default_rng(seed), len(saved)
    block = max(1, _AT_ONCE // n)
    found = []
    for first in range(0, num, block):
        chosen = random.integers(n, size=(min(block, num - first), n))
        found.append(saved[chosen].sum(1) / sizes[chosen].sum(1))
    return np.concatenate(found)


def _levels(
    drawn: Float64[np.ndarray, " resamples"],
    saved: Float64[np.ndarray, " documents"],
    sizes: Float64[np.ndarray, " documents"],
    estimate: float,
    level: float,
) -> tuple[float, float]:
    """Which quantiles of the resamples are the interval's ends."""
    below = float((drawn < estimate).mean() + (drawn == estimate).mean() / 2)
    if not 0 < below < 1:
        return (1 - level) / 2, (1 + level) / 2
    bias = _NORMAL.inv_cdf(below)
    left_out = (saved.sum() - saved) / (sizes.sum() - sizes)  # the jackknife
    off = left_out.mean() - left_out
    squares = float((off**2).sum())
    acceleration = float((off**3).sum()) / (6 * squares * sqrt(squares)) if squares > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(bias + z / (1 - acceleration * z)))
    return ends[0], ends[1]
