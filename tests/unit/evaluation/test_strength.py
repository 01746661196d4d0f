from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, strategies as st

from saint.evaluation import search_strength

STRENGTHS = (0.25, 1.0, 0.5, 0.75)


def never(strength: float) -> float:
    raise AssertionError(f"{strength} was measured for nothing")


def test_without_a_limit_the_strength_of_the_most_gain_is_chosen() -> None:
    assert search_strength(lambda s: s, never, STRENGTHS, None) == 1.0
    assert search_strength(lambda s: -((s - 0.5) ** 2), never, STRENGTHS, None) == 0.5


@pytest.mark.parametrize(("limit", "chosen"), [(0.6, 0.75), (0.5625, 0.75), (0.3, 0.5), (1.0, 1.0), (0.01, 0.25)])
def test_with_a_limit_it_is_the_most_gain_that_keeps_it(limit: float, chosen: float) -> None:
    assert search_strength(lambda s: s, lambda s: s**2, STRENGTHS, limit) == chosen


def test_a_weaker_one_that_gains_more_is_taken() -> None:
    assert search_strength(lambda s: -((s - 0.5) ** 2), lambda s: s, STRENGTHS, 0.8) == 0.5


def test_when_nothing_keeps_the_limit_the_lowest_is_set() -> None:
    assert search_strength(never, lambda _: 1.0, STRENGTHS, 0.1) == 0.25


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=40, unique=True), st.floats(0, 1))
def test_it_finds_the_strongest_allowed_in_few_measurements(strengths: Sequence[float], limit: float) -> None:
    asked: list[float] = []

    def remember(measure: Callable[[float], float]) -> Callable[[float], float]:
        return lambda s: asked.append(s) or measure(s)  # type: ignore[func-returns-value]

    chosen = search_strength(lambda s: s, remember(lambda s: s**2), strengths, limit)
    assert chosen == max((s for s in strengths if s**2 <= limit), default=min(strengths))
    assert len(asked) <= 1 + len(strengths).bit_length()
