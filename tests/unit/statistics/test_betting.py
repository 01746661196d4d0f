"""E-values of bets: what they are defined as, an expectation of at most 1 under the null, and what they refuse."""

from itertools import product
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, strategies as st

from saint.errors import ConfigError, DataError
from saint.statistics import log_e_value, running_log_e_values
from saint.statistics._betting import bets_of

LIMITS = [(0.0, 1.0), (0.3, 1.0), (-0.4, 1.0), (-0.9, 1.0), (0.05, 0.2), (-0.19, 0.2)]


@pytest.mark.parametrize(("above", "clip"), LIMITS)
@pytest.mark.parametrize("num_documents", [2, 5])
def test_expectation_is_at_most_one_for_every_two_point_null_by_enumeration(
    above: float, clip: float, num_documents: int
) -> None:
    for low in (-3.0, -clip, above - 0.01, above):
        for high in (above, above + 0.02, clip, 7.0):
            bottom, top = np.clip([low, high], -clip, clip)
            if not bottom <= above <= top:
                continue
            weight = (above - bottom) / (top - bottom) if top > bottom else 1.0  # the clipped mean is `above`
            expectation = 0.0
            for chosen in product((0, 1), repeat=num_documents):
                probability = np.prod([weight if one else 1 - weight for one in chosen])
                documents = np.array([high if one else low for one in chosen])
                expectation += probability * np.exp(log_e_value(documents, above=above, clip=clip))
            assert expectation == pytest.approx(1.0, abs=1e-9)


def test_expectation_is_below_one_where_the_mean_is_below_the_limit() -> None:
    values, chances = np.array([-2.0, 0.1, 5.0]), np.array([0.4, 0.5, 0.1])  # clipped to 1, the mean is -0.25
    expectation = sum(
        np.prod(chances[list(chosen)]) * np.exp(log_e_value(values[list(chosen)], above=0.0, clip=1.0))
        for chosen in product(range(3), repeat=4)
    )
    assert expectation < 1


@pytest.mark.parametrize(("above", "clip"), LIMITS)
def test_no_document_can_take_everything(above: float, clip: float) -> None:
    worst = 1 + bets_of(clip, above) * (-clip - above)
    assert worst.min() == pytest.approx(0.1)
    assert np.isfinite(log_e_value(np.full(1000, -1e300), above=above, clip=clip))


def test_it_is_the_mean_of_the_products_of_its_definition() -> None:
    documents = np.array([0.3, -0.2, 0.9, 0.05])
    bets = np.geomspace(1e-3, 0.9, 30) / (0.5 + 0.1)
    products = [np.prod([1 + bet * (np.clip(one, -0.5, 0.5) - 0.1) for one in documents]) for bet in bets]
    assert log_e_value(documents, above=0.1, clip=0.5) == pytest.approx(np.log(np.mean(products)), rel=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_order_makes_no_difference_to_the_bit(documents: list[float], random: object) -> None:
    other = list(documents)
    random.shuffle(other)  # type: ignore[attr-defined]
    asked = log_e_value(np.array(documents), above=0.01, clip=0.7)
    assert asked == log_e_value(np.array(other), above=0.01, clip=0.7)


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=40), st.sampled_from([-0.1, 0.0, 0.1]))
def test_the_running_value_is_that_of_the_documents_so_far(documents: list[float], above: float) -> None:
    running = running_log_e_values(np.array(documents), above=above, clip=0.5)
    for num in range(2, len(documents) + 1):
        assert running[num - 1] == pytest.approx(log_e_value(np.array(documents[:num]), above=above, clip=0.5))


def test_a_document_that_saves_more_never_weakens_the_evidence() -> None:
    documents = np.random.default_rng(0).normal(0, 0.1, 50)
    more = documents.copy()
    more[7] += 0.05
    assert log_e_value(more, above=0.0, clip=0.5) > log_e_value(documents, above=0.0, clip=0.5)
    assert log_e_value(documents, above=0.05, clip=0.5) < log_e_value(documents, above=0.0, clip=0.5)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_difference_that_is_no_finite_number_is_refused(bad: float) -> None:
    for asked in (log_e_value, running_log_e_values):
        with pytest.raises(DataError, match="document 2 has a difference that is not a finite number"):
            asked(np.array([0.1, 0.2, bad]), above=0.0, clip=1.0)


@pytest.mark.parametrize("num_documents", [0, 1])
def test_one_document_is_no_evidence(num_documents: int) -> None:
    with pytest.raises(DataError, match=f"at least 2 documents, got {num_documents}"):
        log_e_value(np.zeros(num_documents), above=0.0, clip=1.0)


@pytest.mark.parametrize(
    ("above", "clip"),
    [(-0.5, 0.5), (-0.5, 0.2), (0.0, 0.0), (0.5, -0.1), (0.0, nan), (0.0, inf), (nan, 1.0), (inf, 1.0)],
)
def test_where_everything_could_be_lost_nothing_is_bet(above: float, clip: float) -> None:
    with pytest.raises(ConfigError, match="give finite numbers, with clip larger than"):
        log_e_value(np.array([0.1, 0.2]), above=above, clip=clip)
