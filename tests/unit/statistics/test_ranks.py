"""Mann and Whitney's test against scipy's."""

from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from saint.errors import DataError
from saint.statistics import rank_p_value


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 5), (3, 2), (8, 8), (20, 25), (64, 64)])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.6, 3.0])
def test_without_ties_it_is_exact(m: int, n: int, shift: float) -> None:
    random = np.random.default_rng(m + n)
    one, other = random.normal(shift, 1, m), random.normal(0, 1, n)
    expected = stats.mannwhitneyu(one, other, alternative="greater", method="exact").pvalue
    assert rank_p_value(one, other) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("m", "n", "digits"), [(30, 40, 1), (8, 9, 0), (300, 200, 9)])
def test_with_ties_or_many_pairs_it_is_the_normal_approximation(m: int, n: int, digits: int) -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0.3, 1, m).round(digits), random.normal(0, 1, n).round(digits)
    expected = stats.mannwhitneyu(one, other, alternative="greater", method="asymptotic").pvalue
    assert rank_p_value(one, other) == pytest.approx(expected, rel=1e-9)


def test_what_is_all_the_same_shows_nothing() -> None:
    assert rank_p_value(np.ones(10), np.ones(12)) == 1.0


def test_bad_input_is_refused_in_one_sentence() -> None:
    with pytest.raises(DataError, match="not a finite number"):
        rank_p_value(np.array([1.0, nan]), np.array([2.0]))
    with pytest.raises(DataError, match="not a finite number"):
        rank_p_value(np.array([1.0]), np.array([inf]))
    with pytest.raises(DataError, match="at least 8 values on each side"):
        rank_p_value(np.array([1.0, 1.0]), np.array([2.0, 3.0]))
    with pytest.raises(DataError, match="at least 8 values on each side"):
        rank_p_value(np.array([]), np.array([2.0, 3.0]))
