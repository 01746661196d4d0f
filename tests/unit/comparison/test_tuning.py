"""Everybody tries as many learning rates, by one rule, and the rule finds the bottom of a bowl."""

from math import log

import pytest

from saint.comparison import at_the_edge, best_rate, rates_to_try


def tune(centre: float, num_tries: int, best: float, *, diverges_above: float = 1e9) -> dict[float, float | None]:
    """Try rates on a bowl whose bottom is at `best`."""
    tried: dict[float, float | None] = {}
    while rates := rates_to_try(centre, num_tries, tried):
        assert not set(rates) & set(tried)
        tried |= {rate: None if rate > diverges_above else log(rate / best) ** 2 for rate in rates}
    return tried


@pytest.mark.parametrize("num_tries", [1, 2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("best", [1e-4, 1e-2, 3e-2, 10.0])
def test_everybody_gets_the_same_number_of_tries(num_tries: int, best: float) -> None:
    assert len(tune(1e-2, num_tries, best)) == num_tries


def test_first_the_centre_three_times_and_a_third_of_it_at_once() -> None:
    assert rates_to_try(0.03, 3, {}) == [0.03, 0.09, 0.01]
    assert rates_to_try(0.03, 2, {}) == [0.03, 0.09]


def test_beyond_an_edge_that_won() -> None:
    assert rates_to_try(1.0, 4, {1.0: 2.0, 3.0: 1.0, 0.333333: 3.0}) == [9.0]
    assert rates_to_try(1.0, 4, {1.0: 2.0, 3.0: 3.0, 0.333333: 1.0}) == [0.111111]


def test_finer_around_an_inner_winner_first_towards_the_better_neighbour() -> None:
    tried: dict[float, float | None] = {1.0: 1.0, 3.0: 2.0, 0.333333: 3.0}
    assert rates_to_try(1.0, 4, tried) == [1.73205]
    assert rates_to_try(1.0, 5, {**tried, 1.73205: 1.5}) == [0.57735]


@pytest.mark.parametrize("best", [2e-4, 4e-3, 1e-2, 1.6e-2, 0.4])
def test_with_more_tries_the_best_rate_is_close_to_the_bottom(best: float) -> None:
    found = best_rate(tune(1e-2, 9, best))
    assert found is not None
    assert abs(log(found / best)) < log(3) / 4


def test_a_run_that_diverged_counts_as_a_try_and_never_wins() -> None:
    tried = tune(1.0, 5, 10.0, diverges_above=0.5)
    assert len(tried) == 5
    found = best_rate(tried)
    assert found is not None
    assert found < 0.5
    assert best_rate(tune(1.0, 4, 1.0, diverges_above=0.0)) is None
    assert rates_to_try(1.0, 4, {1.0: None, 3.0: None, 0.333333: None}) == [0.111111]


def test_a_winner_at_the_edge_is_told() -> None:
    assert at_the_edge(tune(1e-2, 3, 1.0))
    assert not at_the_edge(tune(1e-2, 3, 1e-2))
