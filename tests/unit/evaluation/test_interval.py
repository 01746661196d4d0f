"""Intervals against independent references, and the choice of a strength."""

from math import log
from typing import Any

import numpy as np
import pytest

from saint.errors import DataError
from saint.evaluation import negated, paired_interval
from saint.evaluation._interval import student_quantile

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


def some_documents(
    count: int, random: np.random.Generator, *, spread: float = 0.08
) -> tuple[FloatArray, FloatArray, IntArray]:
    """(nats before, nats after, bytes): long documents save more, and each has a saving of its own."""
    num_bytes = random.integers(200, 3000, count)
    bits_saved = num_bytes * random.normal(0.05, spread, count)
    before = num_bytes * random.normal(1.0, 0.1, count)
    return before, before - bits_saved * log(2), num_bytes


def test_the_estimate_is_bits_saved_per_byte_over_all_documents() -> None:
    before, after = np.array([10.0, 30.0, 50.0]), np.array([8.0, 33.0, 40.0])
    found = paired_interval(before, after, np.array([5, 20, 75]))
    assert found.estimate == pytest.approx((2 - 3 + 10) / log(2) / 100)
    assert found.num_documents == 3
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("spread", [0.08, 0.005])
def test_the_standard_error_is_that_of_resampled_documents(spread: float) -> None:
    random = np.random.default_rng(0)
    before, after, num_bytes = some_documents(200, random, spread=spread)
    found = paired_interval(before, after, num_bytes)
    drawn = random.integers(0, 200, (20_000, 200))
    resampled = (before - after)[drawn].sum(1) / log(2) / num_bytes[drawn].sum(1)
    assert found.standard_error == pytest.approx(resampled.std(), rel=0.04)
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_wider_level_is_wider_by_the_quantiles() -> None:
    measured = some_documents(60, np.random.default_rng(1))
    narrow, wide = (paired_interval(*measured, level=level) for level in (0.5, 0.99))
    widths = [found.high - found.low for found in (narrow, wide)]
    assert widths[0] / widths[1] == pytest.approx(0.6790 / 2.6618, rel=1e-3)  # tables, 59 degrees of freedom


@pytest.mark.parametrize("count", [8, 30])
def test_intervals_cover_the_truth_as_often_as_they_say(count: int) -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        found = paired_interval(*some_documents(count, random))
        covered += found.low <= 0.05 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_treating_windows_as_documents_would_claim_too_much() -> None:
    """Windows of one document agree with each other, so their number is not the number of observations."""
    random = np.random.default_rng(3)
    before, after, num_bytes = some_documents(30, random)
    whole = paired_interval(before, after, num_bytes)
    cut = paired_interval(before.repeat(10) / 10, after.repeat(10) / 10, num_bytes.repeat(10))
    assert whole.standard_error > 2.5 * cut.standard_error


def test_the_other_direction_is_the_negative() -> None:
    before, after, num_bytes = some_documents(12, np.random.default_rng(4))
    lost = paired_interval(after, before, num_bytes)
    saved = negated(paired_interval(before, after, num_bytes))
    for part in ("estimate", "low", "high", "standard_error", "num_documents"):
        assert getattr(saved, part) == pytest.approx(getattr(lost, part))


def test_equal_losses_leave_no_doubt() -> None:
    before, _, num_bytes = some_documents(5, np.random.default_rng(5))
    found = paired_interval(before, before.copy(), num_bytes)
    assert (found.estimate, found.low, found.high, found.standard_error) == (0.0, 0.0, 0.0, 0.0)


# Two-sided 95 % and 99 % points as tables print them, and the median.
@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [
        (0.975, 3, 3.182),
        (0.975, 5, 2.571),
        (0.975, 10, 2.228),
        (0.975, 30, 2.042),
        (0.975, 120, 1.980),
        (0.995, 10, 3.169),
        (0.95, 4, 2.132),
        (0.5, 7, 0.0),
        (0.025, 10, -2.228),
    ],
)
def test_quantiles_are_those_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_documents_give_no_interval(count: int) -> None:
    nats = np.ones(count)
    with pytest.raises(DataError, match=f"at least 2 documents, got {count}"):
        paired_interval(nats, nats, np.ones(count, dtype=np.int64))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_a_number_is_named(value: float) -> None:
    before, after, num_bytes = some_documents(6, np.random.default_rng(6))
    after[4] = value
    with pytest.raises(DataError, match="document 4 has a loss that is not a number"):
        paired_interval(before, after, num_bytes)
