"""The bootstrap interval against scipy's, and its laws."""

from math import log, nan

import numpy as np
import pytest
from scipy import stats

from saint.errors import ConfigError, DataError
from saint.statistics import bootstrap_interval, paired_interval


def measured(num_documents: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    num_bytes = random.integers(500, 5000, num_documents)
    before = num_bytes * random.gamma(20, 0.05, num_documents)
    return before, before - num_bytes * random.gamma(0.5, 0.04, num_documents), num_bytes


def test_it_is_scipy_s_up_to_the_draws() -> None:
    before, after, num_bytes = measured(60)
    ours = bootstrap_interval(before, after, num_bytes, num_resamples=20_000)
    theirs = stats.bootstrap(
        ((before - after) / log(2), num_bytes.astype(float)),
        lambda saved, sizes, axis=-1: saved.sum(axis) / sizes.sum(axis),
        paired=True,
        method="BCa",
        n_resamples=20_000,
        rng=1,
        vectorized=True,
    )
    width = ours.high - ours.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)
    middle = paired_interval(before, after, num_bytes)
    assert ours.estimate == middle.estimate
    assert ours.high - ours.estimate > middle.high - middle.estimate  # savings are skewed, and it knows


def test_a_seed_makes_the_draws_the_same() -> None:
    one, same, other = (bootstrap_interval(*measured(20), num_resamples=500, seed=seed) for seed in (3, 3, 4))
    assert one == same
    assert one != other


def test_blocks_of_draws_are_no_other_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(*measured(20), num_resamples=300)
    monkeypatch.setattr("saint.statistics._bootstrap._AT_ONCE", 20 * 7)
    assert bootstrap_interval(*measured(20), num_resamples=300) == whole


def test_what_does_not_vary_has_no_width() -> None:
    num_bytes = np.full(10, 100)
    found = bootstrap_interval(np.full(10, 50.0), np.full(10, 40.0), num_bytes)
    assert found.low == found.estimate == found.high == pytest.approx(0.1 / log(2))


def test_bad_input_is_refused_in_one_sentence() -> None:
    before, after, num_bytes = measured(5)
    with pytest.raises(DataError, match="at least 2 documents, got 1"):
        bootstrap_interval(before[:1], after[:1], num_bytes[:1])
    with pytest.raises(DataError, match="document 0 has a loss that is not a number"):
        bootstrap_interval(np.where(np.arange(5) == 0, nan, before), after, num_bytes)
    with pytest.raises(DataError, match="document 3 has no bytes"):
        bootstrap_interval(before, after, np.where(np.arange(5) == 3, 0, num_bytes))
    with pytest.raises(ConfigError, match="level"):
        bootstrap_interval(before, after, num_bytes, level=1.0)
    with pytest.raises(ConfigError, match="at least 2 resamples"):
        bootstrap_interval(before, after, num_bytes, num_resamples=1)
