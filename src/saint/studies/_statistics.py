"""How well scores order gains: rank correlation and regret, with intervals from resampling."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

Values = Float64[np.ndarray, " candidates"]
Groups = Int64[np.ndarray, " candidates"]

_TAILS = (2.5, 97.5)
_FEWEST = 0.5


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with the middle 95 % of what it was over resamples; None for a bound that resampling cannot give."""

    estimate: float
    low: float | None = None
    high: float | None = None


def rank_correlation(scores: Values, gains: Values, groups: Groups | None = None) -> float | None:
    """Spearman's rank correlation; ties share the mean of their ranks.

    With groups, ranks are taken within each group, about its mean rank, and correlated over all of them together.
    Without ties that is the mean of the groups' own correlations, each with the weight n (n^2 - 1) of its n members.

    Returns:
        None where all scores or all gains are tied.

    Source:
        Spearman 1904, doi:10.2307/1412159.
    """
    groups = np.zeros(len(scores), dtype=np.int64) if groups is None else groups
    x, y = _centred_ranks(scores, groups), _centred_ranks(gains, groups)
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else None


def _centred_ranks(values: Values, groups: Groups) -> Values:
    """The rank of each value within its group, less the group's mean rank."""
    order = np.lexsort((values, groups))
    by_group = _run_means(groups[order][1:] != groups[order][:-1])
    by_value = _run_means((groups[order][1:] != groups[order][:-1]) | (values[order][1:] != values[order][:-1]))
    found = np.empty(len(values))
    found[order] = by_value - by_group
    return found


def _run_means(breaks: np.ndarray) -> Values:
    """The mean position of each place's run, where a run ends at a break between neighbours."""
    starts = np.flatnonzero(np.concatenate([[True], breaks]))
    lengths = np.diff(np.append(starts, len(breaks) + 1))
    return np.repeat(starts + (lengths - 1) / 2, lengths)


def expected_best(
    scores: Values, gains: Float64[np.ndarray, "*resamples candidates"], top: int
) -> Float64[np.ndarray, "*resamples"]:
    """The largest gain among the `top` highest scores; over all ways in which ties at the edge can be broken, the mean.

    With equal scores throughout it is what choosing by chance is expected to find: of n gains in rising order the i-th
    is the largest of k drawn ones with probability C(i - 1, k - 1) / C(n, k).
    """
    top = min(top, len(scores))
    edge = np.sort(scores)[-top]
    certain, tied = gains[..., scores > edge], np.sort(gains[..., scores == edge], axis=-1)
    n, k = tied.shape[-1], top - certain.shape[-1]
    chances = np.array([comb(place, k - 1) / comb(n, k) for place in range(n)])
    floor = certain.max(-1, keepdims=True) if certain.shape[-1] else -np.inf
    found: Float64[np.ndarray, "*resamples"] = np.maximum(tied, floor) @ chances
    return found


def regret(
    scores: Values, gains: Float64[np.ndarray, "*resamples candidates"], top: int, groups: Groups | None = None
) -> Float64[np.ndarray, "*resamples"]:
    """What is lost by training the `top` highest scores only: 1 - their best gain / the best gain of all.

    With groups: the mean over those that have more than `top` members. NaN where there is none, or nothing gains.
    """
    if groups is None:
        best = gains.max(-1)
        share = expected_best(scores, gains, top) / np.where(best > 0, best, np.nan)
        lost: Float64[np.ndarray, "*resamples"] = np.maximum(1 - share, 0.0)  # not below it by rounding
        return lost
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    each = [regret(scores[those], gains[..., those], top) for those in members if len(those) > top]
    return np.mean(each, axis=0) if each else np.full(gains.shape[:-1], np.nan)


def resampled_candidates(
    num_candidates: int, num_resamples: int, seed: int, groups: Groups | None = None
) -> Iterator[Groups]:
    """Places of as many candidates, drawn with replacement; with groups as many of each group as it has."""
    chance = np.random.default_rng(seed)
    everyone = np.arange(num_candidates)
    members = [everyone] if groups is None else [everyone[groups == group] for group in np.unique(groups)]
    for _ in range(num_resamples):
        yield np.concatenate([those[chance.integers(len(those), size=len(those))] for those in members])


def resampled_gains(
    saved_bits: Float64[np.ndarray, "seeds candidates documents"],
    num_bytes: Int64[np.ndarray, " documents"],
    num_resamples: int,
    seed: int,
) -> Float64[np.ndarray, "resamples candidates"]:
    """Bits per byte saved, with documents and seeds drawn with replacement, independently of each other."""
    chance = np.random.default_rng(seed)
    num_seeds, _, num_documents = saved_bits.shape
    seeds = chance.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)
    documents = chance.multinomial(num_documents, np.full(num_documents, 1 / num_documents), size=num_resamples)
    saved = np.einsum("bs,scd,bd->bc", seeds.astype(float), saved_bits, documents.astype(float), optimize=True)
    found: Float64[np.ndarray, "resamples candidates"] = saved / (num_seeds * (documents @ num_bytes))[:, None]
    return found


def middle(
    estimate: float | None, resampled: list[float | None] | Float64[np.ndarray, " resamples"]
) -> Estimate | None:
    """An estimate with its interval; None where there is no estimate, no bounds where most resamples have none."""
    if estimate is None or not np.isfinite(estimate):
        return None
    values = np.array([np.nan if value is None else value for value in resampled], dtype=np.float64)
    known = values[np.isfinite(values)]
    if len(known) <= _FEWEST * len(values):
        return Estimate(estimate=float(estimate))
    low, high = (float(bound) for bound in np.percentile(known, _TAILS))
    return Estimate(estimate=float(estimate), low=low, high=high)
