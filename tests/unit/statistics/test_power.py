"""Documents needed: what is predicted is what simulated paths take, and close to the reference's table."""

from math import inf, nan

import numpy as np
import pytest

from saint.errors import ConfigError
from saint.statistics import documents_needed, log_e_value, log_threshold

MEASURED = {  # gain in deviations -> documents by query (1, 0), (10, 2), (100, 10), (1000, 30): registry.md, 3.2
    1.0: (57, 129, 362, 1159),
    0.5: (119, 288, 822, 2408),
    0.2: (509, 1191, 3147, 9414),
    0.1: (1951, 4711),
}
QUERIES = ((1, 0), (10, 2), (100, 10), (1000, 30))


@pytest.mark.parametrize("ratio", MEASURED)
def test_predictions_lie_within_a_tenth_of_the_reference_s_simulations(ratio: float) -> None:
    for query, documents in zip(QUERIES, MEASURED[ratio], strict=False):
        found = documents_needed(ratio, 1.0, log_threshold(*query, alpha=0.05), clip=5.0)
        assert found == pytest.approx(documents, rel=0.1)


@pytest.mark.parametrize(("above", "power"), [(0.0, 0.8), (-0.3, 0.8), (0.2, 0.5)])
def test_so_many_documents_show_it_as_often_as_was_asked(above: float, power: float) -> None:
    threshold, random = log_threshold(10, 2, alpha=0.05), np.random.default_rng(0)
    num = documents_needed(0.4, 1.0, threshold, clip=5.0, above=above, power=power)
    shown = [log_e_value(random.normal(above + 0.4, 1.0, num), above=above, clip=5.0) >= threshold for _ in range(1000)]
    assert np.mean(shown) == pytest.approx(power, abs=0.04)  # three standard errors


def test_only_ratios_matter() -> None:
    assert documents_needed(0.02, 0.1, 10.0, clip=0.5) == documents_needed(0.2, 1.0, 10.0, clip=5.0)


def test_no_number_shows_what_is_not_there() -> None:
    assert documents_needed(0.0, 1.0, 4.0, clip=5.0) == documents_needed(-1.0, 1.0, 4.0, clip=5.0) == 1 << 40


def test_where_nothing_varies_the_largest_bet_decides() -> None:
    num = documents_needed(0.5, 0.0, 4.0, clip=1.0)
    enough, short = (log_e_value(np.full(n, 0.5), above=0.0, clip=1.0) for n in (num, num - 1))
    assert enough >= 4.0 > short


@pytest.mark.parametrize(
    "changes",
    [{"effect": nan}, {"spread": -1.0}, {"spread": inf}, {"log_threshold": inf}, {"power": 1.0}, {"clip": 0.0}],
)
def test_what_cannot_be_planned_with_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="finite numbers"):
        documents_needed(**{"effect": 0.1, "spread": 1.0, "log_threshold": 4.0, "clip": 5.0, **changes})
