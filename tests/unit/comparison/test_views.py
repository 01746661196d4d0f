"""Who wins each view, on tables that were made up."""

from typing import Any

import pytest

from made_up_comparison import made_up_row
from saint.comparison import budgets_won, gain_per_byte_ratio, make_views


def view_of(rows: list[dict[str, Any]], name: str, budget: float | None) -> dict[str, Any]:
    [found] = [view for view in make_views(rows, "lora") if view["view"] == name and view["budget"] == budget]
    return found


ROWS = [
    made_up_row("lora", 0.01, 0.20, num_bytes=1000, seconds=10.0, ours=False),
    made_up_row("phi", 0.01, 0.22, num_bytes=4000, seconds=14.0, difference=(0.01, 0.03)),
    made_up_row("bias", 0.01, 0.15, num_bytes=500, seconds=5.0, difference=(-0.07, -0.03)),
    made_up_row("lora", 0.05, 0.30, num_bytes=5000, seconds=12.0, ours=False),
    made_up_row("phi", 0.05, 0.28, num_bytes=4500, seconds=11.0, difference=(-0.04, 0.0)),
    made_up_row("bias", 0.05, None, status="nothing fits"),
    made_up_row("full", None, 0.50, num_bytes=100_000, seconds=9.0, ours=False),
]


def test_at_equal_parameters_only_a_budget_of_its_own_counts() -> None:
    assert [one["arm"] for one in view_of(ROWS, "equal parameters", 0.01)["ranking"]] == ["phi", "lora", "bias"]
    assert view_of(ROWS, "equal parameters", 0.05)["winner"] == "lora"


def test_at_equal_bytes_any_row_within_the_rivals_bytes_counts() -> None:
    small, large = view_of(ROWS, "equal bytes", 0.01), view_of(ROWS, "equal bytes", 0.05)
    assert (small["cap"], [one["arm"] for one in small["ranking"]]) == (1000, ["lora", "bias"])
    assert (large["winner"], large["cap"]) == ("lora", 5000)
    assert [(one["arm"], one["budget"]) for one in large["ranking"]] == [("lora", 0.05), ("phi", 0.05), ("bias", 0.01)]


def test_at_equal_time_a_whole_base_may_win() -> None:
    assert view_of(ROWS, "equal time", 0.01)["winner"] == "full"
    assert [one["arm"] for one in view_of(ROWS, "equal time", 0.05)["ranking"]] == ["full", "lora", "phi", "bias"]


def test_at_equal_tokens_each_arm_stands_with_its_best_row() -> None:
    ranking = view_of(ROWS, "equal tokens", None)["ranking"]
    assert [(one["arm"], one["budget"]) for one in ranking] == [
        ("full", None),
        ("lora", 0.05),
        ("phi", 0.05),
        ("bias", 0.01),
    ]


def test_a_budget_is_won_by_an_interval_that_excludes_nothing() -> None:
    assert budgets_won(ROWS) == 1
    assert budgets_won(ROWS, corrected=True) == 0  # the corrected interval of the made-up row touches 0
    controls = [{**row, "ours": False} for row in ROWS]
    assert budgets_won(controls) == 0


def test_gain_per_byte_is_that_of_our_best_at_the_smallest_budget() -> None:
    assert gain_per_byte_ratio(ROWS, "lora") == pytest.approx((0.15 / 500) / (0.20 / 1000))


def test_without_a_rivals_gain_there_is_no_ratio() -> None:
    assert gain_per_byte_ratio([made_up_row("lora", 0.01, -0.1, ours=False), ROWS[1]], "lora") is None
    assert (
        gain_per_byte_ratio([made_up_row("lora", 0.01, None, status="diverged", ours=False), ROWS[1]], "lora") is None
    )
    assert gain_per_byte_ratio([ROWS[0]], "lora") is None


def test_without_a_rival_there_is_no_cap() -> None:
    views = make_views([row for row in ROWS if row["arm"] != "lora"], "lora")
    assert {view["view"] for view in views} == {"equal parameters", "equal tokens"}


def test_nothing_measured_leaves_every_ranking_empty() -> None:
    views = make_views([made_up_row("phi", 0.01, None, status="diverged")], "lora")
    assert [(view["winner"], view["ranking"]) for view in views] == [(None, []), (None, [])]
