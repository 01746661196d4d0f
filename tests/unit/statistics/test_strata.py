"""Intervals for a mix of sorts of text: what is fixed of a sample does not widen them."""

import numpy as np
import pytest

from saint.errors import DataError
from saint.statistics import Stratum, repeated_interval, stratified_interval

SEEDS, DOCUMENTS = 3, 30


def drawn(random: np.random.Generator, *, saves: float, scale: float = 1.0) -> Stratum:
    """Documents that save about so many nats per byte, under models that save a little more or less."""
    num_bytes = (random.integers(80, 120, DOCUMENTS) * scale).astype(np.int64)
    luck = random.normal(0, 0.02, (SEEDS, 1))
    saved = (saves + luck + random.normal(0, 0.1, DOCUMENTS)) * num_bytes
    before = np.full((SEEDS, DOCUMENTS), 300.0)
    return Stratum(before, before - saved, num_bytes)


def test_one_stratum_is_repeated_to_the_bit() -> None:
    stratum = drawn(np.random.default_rng(0), saves=0.3)
    assert stratified_interval([stratum]) == repeated_interval(*stratum)


def test_each_sort_counts_the_same_whatever_its_size() -> None:
    random = np.random.default_rng(1)
    small, large = drawn(random, saves=0.9), drawn(random, saves=0.1, scale=50)
    each = [repeated_interval(*one) for one in (small, large)]
    found = stratified_interval([small, large])
    assert found.estimate == pytest.approx((each[0].estimate + each[1].estimate) / 2)
    errors = [one.standard_error_of_documents for one in each]
    assert found.standard_error_of_documents == pytest.approx(np.hypot(*errors) / 2)
    assert (found.num_documents, found.num_seeds) == (2 * DOCUMENTS, SEEDS)


def test_sorts_that_differ_do_not_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    strata = [drawn(random, saves=saves) for saves in (2.0, -1.0)]
    pooled = repeated_interval(*(np.concatenate(one, axis=-1) for one in zip(*strata, strict=True)))
    found = stratified_interval(strata)
    assert found.high - found.low < 0.2 * (pooled.high - pooled.low)


def test_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    truth = (2.0 - 1.0) / 2 / np.log(2)
    covered = 0
    for _ in range(400):
        found = stratified_interval([drawn(random, saves=saves) for saves in (2.0, -1.0)])
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


def test_too_few_documents_of_a_sort_are_refused() -> None:
    few = Stratum(np.ones((2, 1)), np.ones((2, 1)), np.ones(1, dtype=np.int64))
    with pytest.raises(DataError, match="at least 2 documents, got 1"):
        stratified_interval([few, few])
