"""Intervals of means and rates over items: they hold what they say they hold, and are never empty for a rate."""

import numpy as np
import pytest

from saint.errors import DataError
from saint.statistics import mean_interval, paired_rate_interval, rate_interval


def test_an_interval_of_a_mean_is_student_s() -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert found.estimate == 3.0
    assert found.standard_error == pytest.approx(np.sqrt(14 / 3) / 2)
    assert found.high - found.estimate == pytest.approx(3.182446 * found.standard_error)  # t at 3 degrees


def test_an_interval_of_a_rate_is_wilson_s() -> None:
    found = rate_interval(np.array([1.0] * 2 + [0.0] * 8))
    assert (found.low, found.high) == pytest.approx((0.056682, 0.509838), abs=1e-6)
    assert rate_interval(np.zeros(100)).high == pytest.approx(0.036993, abs=1e-6)
    assert rate_interval(np.ones(100)).low == pytest.approx(1 - 0.036993, abs=1e-6)


def test_a_rate_that_did_not_move_on_few_items_is_not_known_to_stand() -> None:
    few, many = (paired_rate_interval(np.zeros(n), np.zeros(n)) for n in (20, 2000))
    assert few.high > 0.15
    assert many.high < 0.002
    assert few.low == -few.high


@pytest.mark.parametrize(
    ("n", "worse", "better"), [(50, 0.02, 0.02), (50, 0.1, 0.05), (100, 0.3, 0.3), (40, 0.05, 0.2)]
)
def test_the_interval_of_a_rise_holds_the_rise_as_often_as_it_says(n: int, worse: float, better: float) -> None:
    chance = np.random.default_rng(0)
    held, num = 0, 1000
    for _ in range(num):
        drawn = chance.random(n)
        after = (drawn < worse).astype(np.float64)
        before = ((drawn >= worse) & (drawn < worse + better)).astype(np.float64)
        found = paired_rate_interval(before, after)
        held += found.low <= worse - better <= found.high
    assert held / num > 0.93


def test_swapping_the_models_turns_the_interval_round() -> None:
    before, after = np.array([1.0, 0, 0, 1, 0, 0, 1]), np.array([1.0, 1, 1, 0, 0, 1, 1])
    one, other = paired_rate_interval(before, after), paired_rate_interval(after, before)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


def test_too_few_items_and_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 items, got 1"):
        mean_interval(np.zeros(1))
    with pytest.raises(DataError, match="item 1 has a value that is not a number"):
        paired_rate_interval(np.zeros(3), np.array([0.0, np.nan, 1.0]))
