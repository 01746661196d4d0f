"""Intervals for differences that were measured on the same documents."""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, hypot, lgamma, log, pi, sqrt, tan
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from saint.errors import DataError
from saint.records import Interval, RepeatedInterval, Spread

_LEVEL = 0.95
_NUM_NODES = 96
_NUM_HALVINGS = 60


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
    estimate, standard_error = _ratio((before_nats - after_nats) / log(2), num_bytes)
    half = student_quantile((1 + level) / 2, len(num_bytes) - 1) * standard_error
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        standard_error=standard_error,
        num_documents=len(num_bytes),
    )


def paired_spread(
    before_nats: Float64[np.ndarray, " documents"],
    after_nats: Float64[np.ndarray, " documents"],
    num_bytes: Int64[np.ndarray, " documents"],
) -> Spread:
    """How the bits per byte that each document saves lie over the documents, each counting the same.

    Args:
        before_nats: Total loss of each document under the model that is compared with.
        after_nats: The same under the other model; lower is better, so savings are positive.
        num_bytes: UTF-8 bytes of each document.
    """
    saved = (before_nats - after_nats) / (log(2) * num_bytes)
    return Spread(mean=float(saved.mean()), deviation=float(saved.std(ddof=1)), num_documents=len(saved))


def repeated_interval(
    before_nats: Float64[np.ndarray, "seeds documents"],
    after_nats: Float64[np.ndarray, "seeds documents"],
    num_bytes: Int64[np.ndarray, " documents"],
    *,
    level: float = _LEVEL,
) -> RepeatedInterval:
    """Bits per byte that a way of training saves, with an interval for other documents *and* other seeds.

    The estimate is the mean over seeds of the ratio that `paired_interval` estimates. Documents and seeds are crossed,
    so both variances add up: SE^2 = SE_documents^2 + s^2 / S, with SE_documents that of the savings averaged over the
    S seeds, and s the standard deviation of the seeds' estimates. The degrees of freedom are Welch and Satterthwaite's:
    SE^4 / (SE_documents^4 / (n - 1) + (s^2 / S)^2 / (S - 1)). With one seed the interval holds for that seed only.

    Args:
        before_nats: Total loss of each document under what is compared with, in a row for each seed; where both sides
            were trained, a row's two runs have the same seed, so that what a seed does to both cancels.
        after_nats: The same on the other side; lower is better, so savings are positive.
        num_bytes: UTF-8 bytes of each document.

    Raises:
        DataError: There are fewer than two documents, or a loss is not a number.

    Source:
        Welch 1947, doi:10.1093/biomet/34.1-2.28; Satterthwaite 1946, doi:10.2307/3002019.
    """
    return stratified_interval([Stratum(before_nats, after_nats, num_bytes)], level=level)


class Stratum(NamedTuple):
    """Documents of one sort, under two models with each seed."""

    before_nats: Float64[np.ndarray, "seeds documents"]
    after_nats: Float64[np.ndarray, "seeds documents"]
    num_bytes: Int64[np.ndarray, " documents"]


def stratified_interval(strata: Sequence[Stratum], *, level: float = _LEVEL) -> RepeatedInterval:
    """Bits per byte that a way of training saves on a mix of sorts of text, each sort counting the same.

    The estimate is the mean of what `repeated_interval` estimates for each stratum, all with the same seeds. Which
    sorts there are is not left to chance, only documents within a sort are drawn: with K strata the variance from
    documents is the sum of theirs over K^2. That from seeds is of the seeds' means over the strata.

    Raises:
        DataError: A stratum has fewer than two documents, or a loss is not a number.

    Source:
        Cochran, "Sampling Techniques", 3rd edition, sections 5.3 and 6.13.
    """
    parts, each = [], []
    for before_nats, after_nats, num_bytes in strata:
        saved_bits = (before_nats - after_nats) / log(2)
        parts.append((*_ratio(saved_bits.mean(0), num_bytes), len(num_bytes)))
        each.append(saved_bits.sum(1) / float(num_bytes.sum()))
    size, num_seeds = len(parts), len(each[0])
    of_documents = hypot(*(error for _, error, _ in parts)) / size
    of_seeds = float(np.mean(each, axis=0).std(ddof=1)) / sqrt(num_seeds) if num_seeds > 1 else 0.0
    squared = of_documents**2 + of_seeds**2
    spread = sum((error / size) ** 4 / (n - 1) for _, error, n in parts)
    spread += of_seeds**4 / (num_seeds - 1) if num_seeds > 1 else 0.0
    num_documents = sum(n for *_, n in parts)
    degrees = squared**2 / spread if spread > 0 else float(num_documents - size)
    half = student_quantile((1 + level) / 2, round(degrees, 6)) * sqrt(squared)
    estimate = sum(found for found, *_ in parts) / size
    return RepeatedInterval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        standard_error=sqrt(squared),
        num_documents=num_documents,
        num_seeds=num_seeds,
        standard_error_of_documents=of_documents,
        standard_error_of_seeds=of_seeds,
        degrees=degrees,
    )


def _ratio(
    saved_bits: Float64[np.ndarray, " documents"], num_bytes: Int64[np.ndarray, " documents"]
) -> tuple[float, float]:
    """Bits saved per byte over all documents, and the cluster-robust standard error of that ratio."""
    n = len(num_bytes)
    if n < 2:
        raise DataError(f"an interval needs at least 2 documents, got {n}; give more text")
    if not np.isfinite(saved_bits).all():
        raise DataError(f"document {int(np.flatnonzero(~np.isfinite(saved_bits))[0])} has a loss that is not a number")
    total = float(num_bytes.sum())
    estimate = float(saved_bits.sum()) / total
    residuals = saved_bits - estimate * num_bytes
    return estimate, sqrt(n / (n - 1) * float((residuals**2).sum())) / total


def negated(interval: Interval) -> Interval:
    """What was saved as what was lost, and the reverse."""
    return Interval(
        estimate=-interval.estimate,
        low=-interval.high,
        high=-interval.low,
        standard_error=interval.standard_error,
        num_documents=interval.num_documents,
    )


@lru_cache(maxsize=4096)
def student_quantile(probability: float, degrees: int | float) -> float:
    """Student's t quantile for any number of degrees of freedom from 1 on, whole or not.

    With t = sqrt(v) tan(u) the density becomes proportional to cos(u)^(v - 1), which is smooth on a bounded range; its
    integral is taken by Gauss-Legendre quadrature and inverted by bisection, to nine digits or more.
    """
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    scale = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(pi)
    nodes, weights = np.polynomial.legendre.leggauss(_NUM_NODES)

    def beyond_half(angle: float) -> float:
        return scale * angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (degrees - 1))

    low, high = 0.0, pi / 2
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond_half(middle) < probability - 0.5 else (low, middle)
    return sqrt(degrees) * tan((low + high) / 2)
