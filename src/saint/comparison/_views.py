"""Who wins, asked in four ways; pure functions of the rows of a comparison."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def make_views(rows: Sequence[Row], rival: str) -> list[dict[str, Any]]:
    """Every view: at equal parameters, stored bytes and training time for each budget, at equal tokens once.

    A view ranks arms by mean held-out gain, each arm by its best row among those that the view admits. Its cap is what
    the rival's row of that budget costs, so the rival is always admitted.
    """
    measured = [row for row in rows if row["status"] == "measured"]
    budgets = sorted({row["budget"] for row in rows if row["budget"] is not None})
    rivals = {row["budget"]: row for row in measured if row["arm"] == rival}
    views = [_view("equal parameters", b, None, [row for row in measured if row["budget"] == b]) for b in budgets]
    for name, key in (("equal bytes", "num_bytes"), ("equal time", "seconds")):
        for budget in budgets:
            if budget in rivals:
                cap = rivals[budget][key]
                views.append(_view(name, budget, cap, [row for row in measured if row[key] <= cap]))
    return [*views, _view("equal tokens", None, None, measured)]


def budgets_won(rows: Iterable[Row], *, corrected: bool = False) -> int:
    """Budgets in which an arm of ours gains more than the rival, with an interval that excludes 0.

    Args:
        corrected: Take the intervals that allow for the number of our arms there (Bonferroni).
    """
    key = "corrected_bpb" if corrected else "difference_bpb"
    return len({row["budget"] for row in rows if row["ours"] and row[key] is not None and row[key]["low"] > 0})


def gain_per_byte_ratio(rows: Iterable[Row], rival: str) -> float | None:
    """Gain per stored byte, ours of the most over the rival's, at the smallest budget; None without a rival's gain."""
    smallest = min((row["budget"] for row in rows if row["budget"] is not None), default=None)
    there = [row for row in rows if row["status"] == "measured" and row["budget"] == smallest]
    theirs = next((row["gain_per"]["byte"] for row in there if row["arm"] == rival), None)
    ours = max((row["gain_per"]["byte"] for row in there if row["ours"]), default=None)
    return ours / theirs if ours is not None and theirs is not None and theirs > 0 else None


def _view(name: str, budget: float | None, cap: float | None, admitted: Sequence[Row]) -> dict[str, Any]:
    best: dict[str, Row] = {}
    for row in admitted:
        if row["arm"] not in best or _gain(row) > _gain(best[row["arm"]]):
            best[row["arm"]] = row
    ranking = [
        {"arm": row["arm"], "ours": row["ours"], "budget": row["budget"], "gain_bpb": row["gain_bpb"]}
        for row in sorted(best.values(), key=lambda row: (-_gain(row), row["arm"]))
    ]
    return {
        "view": name,
        "budget": budget,
        "cap": cap,
        "winner": ranking[0]["arm"] if ranking else None,
        "ranking": ranking,
    }


def _gain(row: Row) -> float:
    return float(row["gain_bpb"]["estimate"])
