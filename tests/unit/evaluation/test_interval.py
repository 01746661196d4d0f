"""Intervals against independent references, and the choice of a strength."""

from math import log
from typing import Any

import numpy as np
import pytest

from saint.errors import DataError
from saint.evaluation import negated, paired_interval, repeated_interval
from saint.statistics import student_quantile

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
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 5, 2.57058),
        (0.975, 10, 2.22814),
        (0.975, 30, 2.04227),
        (0.975, 120, 1.97993),
        (0.995, 10, 3.16927),
        (0.95, 4, 2.13185),
        (0.5, 7, 0.0),
        (0.025, 10, -2.22814),
        (0.9995, 2, 31.5991),
        (0.9995, 3, 12.9240),
    ],
)
def test_quantiles_are_those_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=2e-6, abs=1e-9)


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


def repeated_runs(
    num_seeds: int, num_documents: int, random: np.random.Generator, *, of_seeds: float
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Runs that save 0.05 bits per byte on average; documents, seeds and their meetings each add their own chance."""
    num_bytes = random.integers(200, 3000, num_documents)
    rates = 0.05 + random.normal(0, 0.05, num_documents) + random.normal(0, of_seeds, (num_seeds, 1))
    rates = rates + random.normal(0, 0.01, (num_seeds, num_documents))
    before = np.tile(num_bytes * random.normal(1.0, 0.1, num_documents), (num_seeds, 1))
    return before, before - num_bytes * rates * log(2), num_bytes


def test_with_one_seed_the_interval_is_that_of_its_documents() -> None:
    before, after, num_bytes = some_documents(25, np.random.default_rng(7))
    repeated = repeated_interval(before[None], after[None], num_bytes)
    single = paired_interval(before, after, num_bytes)
    for part in ("estimate", "low", "high", "standard_error", "num_documents"):
        assert getattr(repeated, part) == pytest.approx(getattr(single, part))
    assert (repeated.num_seeds, repeated.standard_error_of_seeds) == (1, 0.0)


def test_the_variances_of_documents_and_of_seeds_add_up() -> None:
    before, after, num_bytes = repeated_runs(4, 40, np.random.default_rng(8), of_seeds=0.02)
    found = repeated_interval(before, after, num_bytes)
    estimates = [paired_interval(b, a, num_bytes).estimate for b, a in zip(before, after, strict=True)]
    assert found.estimate == pytest.approx(np.mean(estimates))
    assert found.standard_error_of_seeds == pytest.approx(np.std(estimates, ddof=1) / 2)
    assert found.standard_error**2 == pytest.approx(
        found.standard_error_of_seeds**2 + found.standard_error_of_documents**2
    )
    assert 3 <= found.degrees <= 39 + 3


@pytest.mark.parametrize("of_seeds", [0.0, 0.003, 0.03])
def test_intervals_over_three_seeds_cover_the_truth_as_often_as_they_say(of_seeds: float) -> None:
    """Whether documents or seeds decide; documents alone would claim far too much when seeds do."""
    random = np.random.default_rng(9)
    covered = by_documents = 0
    for _ in range(400):
        before, after, num_bytes = repeated_runs(3, 40, random, of_seeds=of_seeds)
        found = repeated_interval(before, after, num_bytes)
        covered += found.low <= 0.05 <= found.high
        alone = paired_interval(before.mean(0), after.mean(0), num_bytes)
        by_documents += alone.low <= 0.05 <= alone.high
    assert 0.92 <= covered / 400 <= 0.99
    if of_seeds == 0.03:
        assert by_documents / 400 < 0.7


def test_what_a_seed_does_to_both_sides_cancels() -> None:
    random = np.random.default_rng(10)
    before, after, num_bytes = repeated_runs(3, 40, random, of_seeds=0.0)
    luck = random.normal(0, 0.5, (3, 1)) * num_bytes
    found = repeated_interval(before + luck, after + luck, num_bytes)
    assert found.standard_error == pytest.approx(repeated_interval(before, after, num_bytes).standard_error)
