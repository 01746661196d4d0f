"""Rank correlation and regret, by hand, by enumeration, and by what must hold for any numbers."""

from itertools import combinations, permutations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, strategies as st

from saint.studies._statistics import (
    expected_best,
    middle,
    rank_correlation,
    regret,
    resampled_candidates,
    resampled_gains,
)

NUMBERS = st.lists(st.integers(-20, 20), min_size=2, max_size=9)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def correlation(scores: np.ndarray, gains: np.ndarray, groups: np.ndarray | None = None) -> float:
    found = rank_correlation(scores, gains, groups)
    assert found is not None
    return found


def test_rank_correlation_of_five_by_hand() -> None:
    # squared differences of ranks 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24)
    assert correlation(array(1, 2, 3, 4, 5), array(20, 10, 40, 30, 50)) == pytest.approx(0.8)


def test_ties_share_the_mean_of_their_ranks() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: covariance 4.5, variances 4.5 and 5
    assert correlation(array(1, 2, 2, 3), array(1, 7, 5, 9)) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_without_an_order_there_is_no_correlation() -> None:
    assert rank_correlation(array(1, 1, 1), array(1, 2, 3)) is None
    assert rank_correlation(array(1, 2), array(3, 4), np.array([0, 1])) is None


def test_over_all_orders_the_mean_is_0_and_the_variance_one_over_n_less_1() -> None:
    found = [correlation(array(*order), array(0, 1, 2, 3, 4)) for order in permutations(range(5))]
    assert fmean(found) == pytest.approx(0)
    assert fmean(value**2 for value in found) == pytest.approx(1 / 4)


@given(NUMBERS)
def test_only_the_order_counts(numbers: list[int]) -> None:
    scores = array(*numbers)
    gains = np.arange(len(numbers), dtype=np.float64)
    found = rank_correlation(scores, gains)
    if found is None:
        assert len(set(numbers)) == 1
        return
    assert -1 - 1e-12 <= found <= 1 + 1e-12
    assert rank_correlation(scores**3 + 5, np.exp(gains)) == pytest.approx(found)
    assert rank_correlation(-scores, gains) == pytest.approx(-found)
    assert rank_correlation(gains, scores) == pytest.approx(found)


def test_within_groups_it_is_the_weighted_mean_of_theirs() -> None:
    chance = np.random.default_rng(3)
    groups = np.array([0] * 4 + [1] * 6 + [2])
    scores, gains = chance.normal(size=11), chance.normal(size=11)
    weights = {0: 4 * 15, 1: 6 * 35}
    expected = sum(w * correlation(scores[groups == g], gains[groups == g]) for g, w in weights.items())
    found = correlation(scores, gains, groups)
    assert found == pytest.approx(expected / sum(weights.values()))
    shifted = scores + 100.0 * groups
    assert correlation(shifted, gains - 50 * groups, groups) == pytest.approx(found), "levels of groups do not count"
    assert correlation(shifted, gains - 50 * groups) < 0, "they do where all are ranked together"


@given(NUMBERS, st.integers(1, 9), st.data())
def test_ties_at_the_edge_are_broken_in_every_way(numbers: list[int], top: int, data: st.DataObject) -> None:
    n = len(numbers)
    scores = array(*data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    gains, top = array(*numbers), min(top, n)
    orders = [max(gains[list(those)]) for those in combinations(range(n), top) if is_top(scores, those)]
    assert float(expected_best(scores, gains, top)) == pytest.approx(fmean(orders))


def is_top(scores: np.ndarray, chosen: tuple[int, ...]) -> bool:
    left = [score for place, score in enumerate(scores) if place not in chosen]
    return not left or min(scores[list(chosen)]) >= max(left)


def test_regret_by_hand() -> None:
    scores, gains = array(5, 4, 3, 2), array(0.1, 0.3, 0.2, 0.4)
    assert [float(regret(scores, gains, top)) for top in (1, 2, 3, 4, 9)] == pytest.approx([0.75, 0.25, 0.25, 0, 0])
    assert np.isnan(regret(scores, -gains, 1)), "where nothing gains there is nothing to lose"
    assert float(regret(array(0, 0, 0, 0), gains, 1)) == pytest.approx(1 - 0.25 / 0.4), "by chance"


def test_regret_within_groups_is_of_those_with_a_choice() -> None:
    scores, gains = array(5, 4, 1, 2, 3), array(0.1, 0.2, 0.4, 0.3, 0.9)
    groups = np.array([0, 0, 1, 1, 2])
    assert float(regret(scores, gains, 1, groups)) == pytest.approx((0.5 + 0.25) / 2)
    assert np.isnan(regret(scores, gains, 2, groups)), "no group has more than two"


def test_the_gain_of_all_is_never_worse_with_more_candidates() -> None:
    chance = np.random.default_rng(0)
    scores, gains = chance.normal(size=12), np.abs(chance.normal(size=(7, 12)))
    lost = np.stack([regret(scores, gains, top) for top in range(1, 13)])
    assert (np.diff(lost, axis=0) <= 1e-12).all()
    assert (lost[-1] == 0).all()


def test_resamples_of_candidates_keep_the_groups() -> None:
    groups = np.array([0, 0, 0, 1, 1])
    for places in resampled_candidates(5, 20, seed=0, groups=groups):
        assert groups[places].tolist() == groups.tolist()
    drawn = np.concatenate(list(resampled_candidates(5, 400, seed=0)))
    assert np.bincount(drawn).tolist() == pytest.approx([400] * 5, rel=0.2)


def test_resampled_gains_have_the_mean_and_spread_of_documents_and_seeds() -> None:
    chance = np.random.default_rng(1)
    num_bytes = np.full(40, 100)
    saved = chance.normal(size=(1, 3, 40)) * 5 + 10 + np.arange(3)[:, None]
    found = resampled_gains(saved, num_bytes, 4000, seed=0)
    assert found.shape == (4000, 3)
    assert found.mean(0) == pytest.approx(saved[0].mean(1) / 100, rel=0.01)
    assert found.std(0) == pytest.approx(saved[0].std(1) / 100 / np.sqrt(40), rel=0.1)
    twice = resampled_gains(np.concatenate([saved, saved]), num_bytes, 4000, seed=0)
    assert twice.std(0) == pytest.approx(found.std(0), rel=0.1), "a second seed that is the first adds nothing"
    apart = resampled_gains(np.concatenate([saved, saved + 20]), num_bytes, 4000, seed=0)
    # one of two seeds twice, or each once: the mean moves by -0.1, 0, 0.1 with chances 1/4, 1/2, 1/4
    assert apart.std(0) == pytest.approx(np.sqrt(found.std(0) ** 2 + 0.1**2 / 2), rel=0.1)


def test_an_interval_is_the_middle_of_what_is_known() -> None:
    found = middle(0.5, [*np.linspace(0, 1, 101).tolist(), *[None] * 50])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    unknown = middle(0.5, [0.1, None, None])
    assert unknown is not None
    assert unknown.low is None
    assert middle(None, [0.1]) is None
    assert middle(float("nan"), np.array([0.1])) is None
