"""The tail guard against scipy's binomial distribution and its bound by Clopper and Pearson."""

from math import log, nan

import pytest
from scipy import stats

from saint.errors import ConfigError, DataError
from saint.statistics import clopper_pearson_upper, log_tail_p_value

SEEN = [(0, 1), (0, 300), (3, 300), (40, 300), (299, 300), (0, 32_000), (320, 32_000), (500, 32_000), (31_000, 32_000)]


@pytest.mark.parametrize(("num_heavy", "num_documents"), SEEN)
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.1, 0.5, 0.97])
def test_the_tail_is_that_of_the_binomial_distribution(num_heavy: int, num_documents: int, share: float) -> None:
    expected = stats.binom.logcdf(num_heavy, num_documents, share)
    if expected > -1e5:  # beyond that scipy has no logarithm of it
        found = log_tail_p_value(num_heavy, num_documents, at_most=share)
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_a_tail_far_below_the_smallest_number_has_a_logarithm() -> None:
    assert log_tail_p_value(0, 100_000, at_most=0.5) == pytest.approx(100_000 * log(0.5))


def test_all_documents_are_no_surprise() -> None:
    assert log_tail_p_value(7, 7, at_most=0.3) == pytest.approx(0.0, abs=1e-12)


def test_none_in_299_shows_less_than_one_percent() -> None:
    assert log_tail_p_value(0, 299, at_most=0.01) <= log(0.05) < log_tail_p_value(0, 298, at_most=0.01)


@pytest.mark.parametrize(("num_heavy", "num_documents"), SEEN)
@pytest.mark.parametrize("alpha", [0.05, 1e-10, 0.9])
def test_the_bound_is_clopper_and_pearson_s(num_heavy: int, num_documents: int, alpha: float) -> None:
    expected = stats.beta.isf(alpha, num_heavy + 1, num_documents - num_heavy)
    assert clopper_pearson_upper(num_heavy, num_documents, alpha=alpha) == pytest.approx(expected, rel=1e-9)


def test_both_say_the_same() -> None:
    bound = clopper_pearson_upper(3, 500, alpha=0.02)
    assert (
        log_tail_p_value(3, 500, at_most=bound * 1.001) <= log(0.02) < log_tail_p_value(3, 500, at_most=bound * 0.999)
    )
    assert clopper_pearson_upper(5, 5, alpha=0.05) == 1.0


@pytest.mark.parametrize(("num_heavy", "num_documents"), [(0, 0), (-1, 5), (6, 5)])
def test_counts_that_cannot_be_are_refused(num_heavy: int, num_documents: int) -> None:
    with pytest.raises(DataError, match="cannot be"):
        log_tail_p_value(num_heavy, num_documents, at_most=0.1)
    with pytest.raises(DataError, match="cannot be"):
        clopper_pearson_upper(num_heavy, num_documents, alpha=0.1)


@pytest.mark.parametrize("share", [0.0, 1.0, nan])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        log_tail_p_value(1, 5, at_most=share)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        clopper_pearson_upper(1, 5, alpha=share)
