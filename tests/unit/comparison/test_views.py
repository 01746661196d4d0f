"""Who wins each view, on tables that were made up."""

from typing import Any

import pytest

from made_up_comparison import made_up_row
from saint.comparison import (
    budgets_won,
    gain_per_byte_ratio,
    gain_per_byte_ratio_no_less_gain,
    make_views,
    strongest_rivals,
)


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


def test_equal_time_admits_a_tenth_more_than_the_rival_s_and_nothing_that_was_not_timed() -> None:
    near, far, untimed = (made_up_row(name, 0.01, 0.3) for name in ("near", "far", "untimed"))
    near["seconds"], far["seconds"], untimed["seconds"] = 10.9, 11.1, None
    view = view_of([ROWS[0], near, far, untimed], "equal time", 0.01)
    assert view["cap"] == pytest.approx(11.0)
    assert [one["arm"] for one in view["ranking"]] == ["near", "lora"]
    rival = {**ROWS[0], "seconds": None}
    assert not [view for view in make_views([rival, near], "lora") if view["view"] == "equal time"]


def test_an_arm_stands_with_the_row_that_development_text_prefers_not_with_the_best_one_held_out() -> None:
    chosen, other = made_up_row("phi", 0.01, 0.2), made_up_row("phi", 0.05, 0.4)
    rows = [ROWS[0], {**chosen, "select_bpb": 1.5}, {**other, "select_bpb": 1.6}]
    [phi] = [one for one in view_of(rows, "equal tokens", None)["ranking"] if one["arm"] == "phi"]
    assert (phi["budget"], phi["gain_bpb"]["estimate"]) == (0.01, 0.2)


def test_the_rival_is_the_strongest_arm_of_its_kind_in_each_budget() -> None:
    other = [
        made_up_row("lora, attention", 0.01, 0.25, num_bytes=1200, seconds=8.0, ours=False, kind="lora"),
        made_up_row("lora, attention", 0.05, 0.29, num_bytes=5200, ours=False, kind="lora"),
        made_up_row("lora, all", 0.05, None, status="diverged", ours=False, kind="lora"),
    ]
    rows = [*ROWS, *other]
    assert {budget: row["arm"] for budget, row in strongest_rivals(rows, "lora").items()} == {
        0.01: "lora, attention",
        0.05: "lora",
    }
    view = view_of(rows, "equal bytes", 0.01)
    assert (view["rival"], view["cap"]) == ("lora, attention", 1200)
    assert view_of(rows, "equal tokens", None)["rival"] == "lora"
    ratio = gain_per_byte_ratio([*rows, made_up_row("phi", 0.01, 0.1, num_bytes=1200)], "lora")
    assert ratio is not None
    assert ratio["rival"]["arm"] == "lora, attention"


def test_at_equal_tokens_each_arm_stands_with_its_best_row() -> None:
    ranking = view_of(ROWS, "equal tokens", None)["ranking"]
    assert [(one["arm"], one["budget"]) for one in ranking] == [
        ("full", None),
        ("lora", 0.05),
        ("phi", 0.05),
        ("bias", 0.01),
    ]


def test_a_budget_is_won_by_an_interval_that_excludes_nothing() -> None:
    assert budgets_won(ROWS, corrected=False) == 1
    assert budgets_won(ROWS) == 0  # the corrected interval of the made-up row touches 0
    controls = [{**row, "ours": False} for row in ROWS]
    assert budgets_won(controls, corrected=False) == 0


def test_gain_per_byte_is_not_won_by_spending_less() -> None:
    found = gain_per_byte_ratio(ROWS, "lora")
    assert found is not None
    assert found["ours"]["arm"] == "phi", "bias spends half of what the rival does"
    assert found["ratio"] == pytest.approx((0.22 / 4000) / (0.20 / 1000))
    assert (found["rival"]["arm"], found["rival"]["num_params"], found["rival"]["num_bytes"]) == ("lora", 250, 1000)
    near = made_up_row("near", 0.01, 0.19, num_bytes=4 * 238)  # parameters: 95 % of 250 are 237.5
    short = made_up_row("short", 0.01, 0.19, num_bytes=4 * 237)
    found = gain_per_byte_ratio([ROWS[0], near, short], "lora")
    assert found is not None
    assert found["ours"]["arm"] == "near"


def test_gain_per_byte_of_those_that_gain_no_less_whatever_they_spend() -> None:
    small = made_up_row("small", 0.01, 0.20, num_bytes=400)
    found = gain_per_byte_ratio_no_less_gain([*ROWS, small], "lora")
    assert found is not None
    assert (found["ours"]["arm"], found["ratio"]) == ("small", pytest.approx(2.5))
    weak = made_up_row("weak", 0.01, 0.19, num_bytes=4)
    found = gain_per_byte_ratio_no_less_gain([*ROWS, weak], "lora")
    assert found is not None
    assert (found["ours"]["arm"], found["ours"]["budget"]) == ("phi", 0.05)
    assert gain_per_byte_ratio_no_less_gain([ROWS[0], weak], "lora") is None


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
