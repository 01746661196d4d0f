"""Thresholds: their levels sum to at most alpha over every tree of answers, and equal their definitions."""

from math import comb, exp, log, pi

import pytest

from saint.errors import ConfigError
from saint.statistics import e_lond_log_threshold, log_threshold


def test_levels_of_all_candidates_that_answers_can_lead_to_sum_to_at_most_alpha() -> None:
    alpha = 0.05
    total = 0.0
    for number in range(1, 201):
        for num_passed in range(number):
            level = exp(-log_threshold(number, num_passed, alpha=alpha))
            total += comb(number - 1, num_passed) * level
    assert total <= alpha
    at_infinity = (1 + (pi**4 / 90) / (pi**2 / 6) ** 2) / 2  # only b < k can be, so 0.7 of alpha is what is ever spent
    assert total == pytest.approx(alpha * at_infinity, rel=0.01)


def test_it_is_its_definition_to_many_digits() -> None:
    for number, num_passed in ((1, 0), (2, 1), (10, 2), (100, 10), (1000, 30), (5000, 2500)):
        spent = log(pi**2 / 6) * 2 + 2 * log(number * (num_passed + 1)) + log(comb(number - 1, num_passed))
        assert log_threshold(number, num_passed, alpha=0.01) == pytest.approx(spent - log(0.01), rel=1e-12)


def test_the_reference_s_thresholds() -> None:
    asked = [(1, 0), (10, 2), (100, 10), (1000, 30), (1000, 100)]
    assert [round(log_threshold(k, b, alpha=0.05), 1) for k, b in asked] == [4.0, 14.4, 48.4, 156.8, 348.8]


def test_each_further_query_costs_more() -> None:
    later = [log_threshold(number, 3, alpha=0.05) for number in range(4, 50)]
    assert later == sorted(later)


def test_e_lond_is_its_definition() -> None:
    for number, num_passed in ((1, 0), (7, 3), (1000, 999)):
        level = 0.05 * (6 / (pi**2 * number**2)) * (num_passed + 1)
        assert e_lond_log_threshold(number, num_passed, alpha=0.05) == pytest.approx(-log(level))


def test_e_lond_without_a_discovery_spends_at_most_alpha() -> None:
    assert 0.0499 < sum(exp(-e_lond_log_threshold(number, 0, alpha=0.05)) for number in range(1, 2000)) <= 0.05


@pytest.mark.parametrize("threshold", [log_threshold, e_lond_log_threshold])
def test_counts_that_cannot_be_are_refused(threshold: object) -> None:
    for number, num_passed in ((0, 0), (1, 1), (3, -1), (-2, 0)):
        with pytest.raises(ConfigError, match="count from 1"):
            threshold(number, num_passed, alpha=0.05)  # type: ignore[operator]
    for alpha in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            threshold(1, 0, alpha=alpha)  # type: ignore[operator]
