"""Intervals for scores between 0 and 1 of items that may come in clusters, and for how far two models are apart."""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from saint.errors import DataError
from saint.records import Interval
from saint.statistics._interval import student_quantile
from saint.statistics._items import joined, wilson

_LEVEL = 0.95


def score_interval(
    scores: Float64[np.ndarray, " items"],
    clusters: Int64[np.ndarray, " items"] | None = None,
    *,
    level: float = _LEVEL,
) -> Interval:
    """The mean of scores between 0 and 1, with Wilson's interval at the number of items that they are worth.

    That number is m (1 - m) / V, with m the mean and V its variance, which is the cluster-robust one where items share
    a cluster, and never less than that of independent items. For scores of 0 and 1 without clusters it is the number of
    items, and the interval that of `rate_interval`. Where no score differs from another, V says nothing, and the number
    of clusters stands in. With clusters the quantile is Student's, at one degree less than there are clusters.

    Args:
        clusters: Which items are not independent, such as questions about one article; all are by default.

    Returns:
        `num_documents` is the number of clusters.

    Raises:
        DataError: There are fewer than two clusters, or a score is not between 0 and 1.

    Source:
        Wilson 1927, doi:10.1080/01621459.1927.10502953; Dean and Pagano 2015, doi:10.1093/jssam/smv024, on it at the
        effective sample size; Miller 2024, arXiv:2411.00640, section 2.2, on clusters of questions.
    """
    sample = _sample(clusters, scores, level=level)
    mean = _mean(scores, sample)
    low, high = wilson(mean.value, mean.worth, sample.quantile)
    return Interval(
        estimate=mean.value,
        low=low,
        high=high,
        standard_error=sqrt(mean.variance),
        num_documents=sample.num_clusters,
    )


def paired_score_interval(
    before: Float64[np.ndarray, " items"],
    after: Float64[np.ndarray, " items"],
    clusters: Int64[np.ndarray, " items"] | None = None,
    *,
    level: float = _LEVEL,
) -> Interval:
    """How much the mean score rose on the same items: what rose less what fell.

    Both parts are scores between 0 and 1, each with its `score_interval`, put together by the method of variance
    estimates recovery with their correlation. Without clusters, for scores of 0 and 1, it is `paired_rate_interval`.

    Args:
        clusters: As of `score_interval`.

    Raises:
        DataError: There are fewer than two clusters, or a score is not between 0 and 1.

    Source:
        Zou and Donner 2008, doi:10.1002/sim.3095.
    """
    sample = _sample(clusters, before, after, level=level)
    rises, falls = np.maximum(after - before, 0.0), np.maximum(before - after, 0.0)
    rose, fell = _mean(rises, sample), _mean(falls, sample)
    change = rose.value - fell.value
    variance = _covariance(after - before, after - before, sample)
    spreads = rose.variance * fell.variance
    correlation = _covariance(rises, falls, sample) / sqrt(spreads) if spreads else 0.0
    (rose_low, rose_high), (fell_low, fell_high) = (
        wilson(part.value, part.worth, sample.quantile) for part in (rose, fell)
    )
    return Interval(
        estimate=change,
        low=max(-1.0, change - joined(rose.value - rose_low, fell_high - fell.value, correlation)),
        high=min(1.0, change + joined(rose_high - rose.value, fell.value - fell_low, correlation)),
        standard_error=sqrt(variance),
        num_documents=sample.num_clusters,
    )


class _Sample(NamedTuple):
    """Which items belong together."""

    clusters: Int64[np.ndarray, " items"]
    """Of each item the place of its cluster."""
    num_clusters: int
    quantile: float

    @property
    def independent(self) -> bool:
        return self.num_clusters == len(self.clusters)


class _Mean(NamedTuple):
    value: float
    variance: float
    worth: float
    """How many independent items of 0 and 1 would have that variance."""


def _sample(
    clusters: Int64[np.ndarray, " items"] | None, *scores: Float64[np.ndarray, " items"], level: float
) -> _Sample:
    num = len(scores[0])
    for each in scores:
        if not ((each >= 0) & (each <= 1)).all():
            place = int(np.flatnonzero(~((each >= 0) & (each <= 1)))[0])
            raise DataError(f"item {place} has a score of {each[place]:g}; expected one between 0 and 1")
    places = np.arange(num) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    num_clusters = int(places.max()) + 1 if num else 0
    if num_clusters < 2:
        of = "items" if num_clusters == num else f"clusters of items, such as articles, and there are {num} items of"
        raise DataError(f"an interval needs at least 2 {of}, got {num_clusters}; give more")
    tail = (1 + level) / 2
    quantile = NormalDist().inv_cdf(tail) if num_clusters == num else student_quantile(tail, num_clusters - 1)
    return _Sample(places, num_clusters, quantile)


def _mean(scores: Float64[np.ndarray, " items"], sample: _Sample) -> _Mean:
    value = float(scores.mean())
    variance = _covariance(scores, scores, sample)
    if not sample.independent:
        alone = _Sample(np.arange(len(scores)), len(scores), sample.quantile)
        variance = max(variance, _covariance(scores, scores, alone))
    worth = value * (1 - value) / variance if variance > 0 else float(sample.num_clusters)
    return _Mean(value, variance, worth)


def _covariance(one: Float64[np.ndarray, " items"], other: Float64[np.ndarray, " items"], sample: _Sample) -> float:
    """Of the means of both, over clusters."""
    off_one, off_other = (
        np.bincount(sample.clusters, weights=values - values.mean(), minlength=sample.num_clusters)
        for values in (one, other)
    )
    few = 1.0 if sample.independent else sample.num_clusters / (sample.num_clusters - 1)
    return few * float((off_one * off_other).sum()) / len(one) ** 2
