"""A share tested after every document: what it is defined as, its error under any way of stopping, and its price."""

from itertools import product
from math import log, sqrt

import numpy as np
import pytest

from saint.errors import ConfigError, DataError
from saint.statistics import log_tail_p_value, log_threshold, running_log_tail_e_values

ALPHA = 0.05


@pytest.mark.parametrize("at_most", [0.02, 0.3, 0.9])
def test_expectation_is_one_at_the_limit_after_every_document_by_enumeration(at_most: float) -> None:
    expectations = np.zeros(6)
    for chosen in product((False, True), repeat=6):
        is_heavy = np.array(chosen)
        probability = np.prod(np.where(is_heavy, at_most, 1 - at_most))
        expectations += probability * np.exp(running_log_tail_e_values(is_heavy, at_most=at_most))
    assert expectations == pytest.approx(1.0, abs=1e-12)


def test_after_any_start_the_next_document_makes_nothing_on_average() -> None:
    """So one may stop whenever one likes: less than nothing where the share is larger."""
    for start in product((False, True), repeat=4):
        now = np.exp(running_log_tail_e_values(np.array(start), at_most=0.1)[-1])
        light, heavy = (
            np.exp(running_log_tail_e_values(np.array([*start, one]), at_most=0.1)[-1]) for one in (False, True)
        )
        assert 0.9 * light + 0.1 * heavy == pytest.approx(now)
        assert 0.8 * light + 0.2 * heavy < now


def test_stopping_at_will_errs_no_more_than_alpha_where_the_binomial_test_errs_more() -> None:
    random, num_paths, num_documents, at_most = np.random.default_rng(5), 1000, 600, 0.05
    ours = theirs = 0
    for _ in range(num_paths):
        is_heavy = random.random(num_documents) < at_most
        ours += bool((running_log_tail_e_values(is_heavy, at_most=at_most) >= -log(ALPHA)).any())
        theirs += any(
            -log_tail_p_value(int(is_heavy[:num].sum()), num, at_most=at_most) >= -log(ALPHA)
            for num in range(20, num_documents, 20)
        )
    limit = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / num_paths)
    assert ours / num_paths <= limit < theirs / num_paths


@pytest.mark.parametrize(("number", "passed", "at_most_more"), [(1, 0, 0.10), (10, 2, 0.05), (100, 10, 0.02)])
@pytest.mark.parametrize("at_most", [0.02, 0.1])
def test_with_no_heavy_document_it_takes_about_as_many_as_the_binomial_test(
    number: int, passed: int, at_most_more: float, at_most: float
) -> None:
    threshold = log_threshold(number, passed, alpha=ALPHA)
    fixed = int(np.ceil(threshold / -np.log1p(-at_most)))
    assert -log_tail_p_value(0, fixed, at_most=at_most) >= threshold
    running = running_log_tail_e_values(np.zeros(2 * fixed, dtype=bool), at_most=at_most)
    assert fixed <= int((running >= threshold).argmax()) + 1 <= fixed * (1 + at_most_more) + 1


def test_a_heavy_document_weakens_it_wherever_it_is() -> None:
    none = np.zeros(100, dtype=bool)
    for place in (0, 50, 99):
        one = none.copy()
        one[place] = True
        assert running_log_tail_e_values(one, at_most=0.1)[-1] < running_log_tail_e_values(none, at_most=0.1)[-1] - 1


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        running_log_tail_e_values(np.zeros(3, dtype=bool), at_most=share)


def test_no_documents_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1 document"):
        running_log_tail_e_values(np.zeros(0, dtype=bool), at_most=0.1)
