"""Intervals of scores: those of rates where there are no clusters, and wide enough where there are."""

import numpy as np
import pytest

from saint.errors import DataError
from saint.records import Interval
from saint.statistics import paired_rate_interval, paired_score_interval, rate_interval, score_interval


def ends(found: Interval) -> tuple[float, float, float, float]:
    return found.estimate, found.low, found.high, found.standard_error


@pytest.mark.parametrize("right", [0, 1, 7, 20])
def test_without_clusters_a_score_of_0_and_1_is_a_rate(right: int) -> None:
    flags = np.array([1.0] * right + [0.0] * (20 - right))
    assert ends(score_interval(flags)) == pytest.approx(ends(rate_interval(flags)))
    assert ends(score_interval(flags, np.arange(20) + 5)) == pytest.approx(ends(rate_interval(flags)))


def test_without_clusters_a_difference_of_0_and_1_is_that_of_rates() -> None:
    before, after = np.array([1.0, 0, 0, 1, 0, 0, 1]), np.array([1.0, 1, 1, 0, 0, 1, 1])
    assert ends(paired_score_interval(before, after)) == pytest.approx(ends(paired_rate_interval(before, after)))


def test_copies_of_an_item_in_its_cluster_tell_nothing_new() -> None:
    flags = np.array([1.0, 0, 1, 1, 0, 0, 0, 1, 0, 0])
    copied, clusters = np.repeat(flags, 8), np.repeat(np.arange(10), 8)
    alone, together = score_interval(flags), score_interval(copied, clusters)
    assert together.num_documents == 10
    assert together.high - together.low > alone.high - alone.low > 2 * (0.1 + 0.1)
    naive = score_interval(copied)
    assert naive.high - naive.low < (alone.high - alone.low) / 2


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_interval_holds_the_mean_as_often_as_it_says_also_in_clusters(share: float) -> None:
    chance = np.random.default_rng(1)
    held = {"clustered": 0, "naive": 0}
    for _ in range(600):
        of_cluster = chance.beta(share * 2, (1 - share) * 2, 30)  # items of one article are alike
        clusters = np.repeat(np.arange(30), 10)
        flags = (chance.random(300) < of_cluster[clusters]).astype(np.float64)
        for name, given in (("clustered", clusters), ("naive", None)):
            found = score_interval(flags, given)
            held[name] += found.low <= share <= found.high
    assert held["clustered"] / 600 > 0.93
    assert held["naive"] / 600 < 0.8


def test_a_difference_in_clusters_holds_as_often_as_it_says() -> None:
    chance = np.random.default_rng(2)
    held = 0
    for _ in range(600):
        clusters = np.repeat(np.arange(25), 6)
        lift = chance.uniform(0.0, 0.3, 25)[clusters]  # 0.15 on average
        before = chance.random(150) * 0.5
        after = np.clip(before + lift * chance.integers(0, 3, 150), 0.0, 1.0)
        found = paired_score_interval(before, after, clusters)
        held += found.low <= 0.1498 <= found.high
    assert held / 600 > 0.93


def test_scores_that_never_differ_leave_doubt_by_the_number_of_clusters() -> None:
    found = score_interval(np.zeros(100), np.repeat(np.arange(5), 20))
    assert found.low == 0.0
    assert found.high > 0.4
    same = paired_score_interval(np.full(100, 0.5), np.full(100, 0.5), np.repeat(np.arange(5), 20))
    assert same.low == -same.high < -0.4


def test_swapping_the_models_turns_the_interval_round() -> None:
    chance = np.random.default_rng(3)
    before, after, clusters = chance.random(40), chance.random(40), np.repeat(np.arange(10), 4)
    one, other = paired_score_interval(before, after, clusters), paired_score_interval(after, before, clusters)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


def test_one_cluster_and_scores_beyond_the_scale_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 items, got 1"):
        score_interval(np.zeros(1))
    with pytest.raises(DataError, match="there are 5 items of, got 1"):
        score_interval(np.zeros(5), np.zeros(5, np.int64))
    with pytest.raises(DataError, match=r"item 1 has a score of 1\.5"):
        score_interval(np.array([0.0, 1.5]))
    with pytest.raises(DataError, match="item 0 has a score of nan"):
        paired_score_interval(np.zeros(2), np.array([np.nan, 0.0]))
