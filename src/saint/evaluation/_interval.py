"""Intervals for differences that were measured on the same documents."""

from math import log, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64, Int64

from saint.errors import DataError
from saint.records import Interval

_LEVEL = 0.95


def paired_interval(
    before_nats: Float64[np.ndarray, " documents"],
    after_nats: Float64[np.ndarray, " documents"],
    num_bytes: Int64[np.ndarray, " documents"],
    *,
    level: float = _LEVEL,
) -> Interval:
    """Bits per byte saved, with an interval that treats each document as one observation.

    The estimate is sum(d_i) / sum(b_i), with d_i the bits that document i saved and b_i its bytes. Tokens and windows
    of one document are not independent, so the standard error is the cluster-robust one of that ratio:
    sqrt(n / (n - 1) * sum((d_i - estimate * b_i)^2)) / sum(b_i), with Student's t at n - 1 degrees of freedom.

    Args:
        before_nats: Total loss of each document under the model that is compared with.
        after_nats: The same under the other model; lower is better, so savings are positive.
        num_bytes: UTF-8 bytes of each document.

    Raises:
        DataError: There are fewer than two documents, or a loss is not a number.

    Source:
        Cochran, "Sampling Techniques", 3rd edition, section 6.13; Miller 2024, arXiv:2411.00640, section 2.2.
    """
    n = len(num_bytes)
    if n < 2:
        raise DataError(f"an interval needs at least 2 documents, got {n}; give more text")
    saved_bits = (before_nats - after_nats) / log(2)
    if not np.isfinite(saved_bits).all():
        raise DataError(f"document {int(np.flatnonzero(~np.isfinite(saved_bits))[0])} has a loss that is not a number")
    total = float(num_bytes.sum())
    estimate = float(saved_bits.sum()) / total
    residuals = saved_bits - estimate * num_bytes
    standard_error = sqrt(n / (n - 1) * float((residuals**2).sum())) / total
    half = student_quantile((1 + level) / 2, n - 1) * standard_error
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        standard_error=standard_error,
        num_documents=n,
    )


def negated(interval: Interval) -> Interval:
    """What was saved as what was lost, and the reverse."""
    return Interval(
        estimate=-interval.estimate,
        low=-interval.high,
        high=-interval.low,
        standard_error=interval.standard_error,
        num_documents=interval.num_documents,
    )


def student_quantile(probability: float, degrees: int) -> float:
    """Student's t quantile, from the normal one; within 1 % of the exact value from 3 degrees of freedom on.

    Source:
        Abramowitz and Stegun, 26.7.5 (four terms of the Cornish-Fisher expansion).
    """
    z, v = NormalDist().inv_cdf(probability), float(degrees)
    terms = (
        z,
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    )
    return sum(terms)
