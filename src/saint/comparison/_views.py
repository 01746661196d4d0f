"""Who wins, asked in several ways; pure functions of the rows of a comparison."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_TIME_SLACK = 1.1  # two runs of one arm differ by about as much
_AS_MANY = 0.95  # of the rival's parameters: a budget cannot always be filled to the last one


def strongest_rivals(rows: Sequence[Row], rival: str) -> dict[float, Row]:
    """Budget -> the row of the most held-out gain there among the arms of the rival's kind.

    Choosing it on held-out text can only make it stronger. A budget without a measured one is left out.

    Args:
        rival: The name of an arm.
    """
    kinds = {row["kind"] for row in rows if row["arm"] == rival}
    found: dict[float, Row] = {}
    for row in rows:
        if row["status"] != "measured" or row["budget"] is None or row["kind"] not in kinds:
            continue
        there = found.get(row["budget"])
        if there is None or _gain(row) > _gain(there):
            found[row["budget"]] = row
    return found


def make_views(rows: Sequence[Row], rival: str) -> list[dict[str, Any]]:
    """Every view: at equal parameters, stored bytes and training time for each budget, at equal tokens once.

    A view ranks arms by mean held-out gain, each arm by that of its admitted rows which has the fewest bits per byte on
    *select*. Its cap is what the strongest rival of that budget costs, so that one is always admitted; equal time
    admits a tenth more, because no two runs take the same time.
    """
    measured = [row for row in rows if row["status"] == "measured"]
    budgets = sorted({row["budget"] for row in rows if row["budget"] is not None})
    rivals = strongest_rivals(rows, rival)
    views = []
    for budget in budgets:
        there = [row for row in measured if row["budget"] == budget]
        views.append(_view("equal parameters", budget, None, there, rivals.get(budget)))
    for name, key, slack in (("equal bytes", "num_bytes", 1.0), ("equal time", "seconds", _TIME_SLACK)):
        for budget in budgets:
            if budget in rivals and rivals[budget][key] is not None:
                cap = slack * rivals[budget][key]
                admitted = [row for row in measured if row[key] is not None and row[key] <= cap]
                views.append(_view(name, budget, cap, admitted, rivals[budget]))
    best = max(rivals.values(), key=_gain, default=None)
    return [*views, _view("equal tokens", None, None, measured, best)]


def budgets_won(rows: Iterable[Row], *, corrected: bool = True) -> int:
    """Budgets in which an arm of ours gains more than the rival, with an interval that excludes 0.

    Args:
        corrected: Take the intervals that allow for the number of our arms there (Bonferroni).
    """
    key = "corrected_bpb" if corrected else "difference_bpb"
    return len({row["budget"] for row in rows if row["ours"] and row[key] is not None and row[key]["low"] > 0})


def gain_per_byte_ratio(rows: Sequence[Row], rival: str) -> dict[str, Any] | None:
    """Gain per stored byte at the smallest budget: the most of ours that spend as much there, over the rival's.

    An arm that spends less than 95 % of the rival's parameters does not count: gain per byte grows by spending less.

    Returns:
        The ratio with who it is of and what both spend; None where the rival has no gain, or no arm of ours counts.
    """
    theirs = _rival_of_smallest(rows, rival)
    if theirs is None:
        return None
    least = _AS_MANY * theirs["num_params"]
    there = [row for row in _ours(rows) if row["budget"] == theirs["budget"] and row["num_params"] >= least]
    return _ratio(there, theirs)


def gain_per_byte_ratio_no_less_gain(rows: Sequence[Row], rival: str) -> dict[str, Any] | None:
    """The same over all rows of ours, of whatever size, that gain no less than the rival at the smallest budget."""
    theirs = _rival_of_smallest(rows, rival)
    return None if theirs is None else _ratio([row for row in _ours(rows) if _gain(row) >= _gain(theirs)], theirs)


def _rival_of_smallest(rows: Sequence[Row], rival: str) -> Row | None:
    """The strongest rival at the smallest budget; None where none was measured there."""
    smallest = min((row["budget"] for row in rows if row["budget"] is not None), default=None)
    return None if smallest is None else strongest_rivals(rows, rival).get(smallest)


def _ours(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["ours"] and row["status"] == "measured"]


def _ratio(ours: Sequence[Row], theirs: Row) -> dict[str, Any] | None:
    if not ours or _gain(theirs) <= 0:
        return None
    best = max(ours, key=lambda row: row["gain_per"]["byte"])
    return {
        "ratio": best["gain_per"]["byte"] / theirs["gain_per"]["byte"],
        "ours": {name: best[name] for name in ("arm", "budget", "num_params", "num_bytes")},
        "rival": {name: theirs[name] for name in ("arm", "budget", "num_params", "num_bytes")},
    }


def _view(name: str, budget: float | None, cap: float | None, admitted: Sequence[Row], rival: Row | None) -> Any:
    best: dict[str, Row] = {}
    for row in admitted:
        if row["arm"] not in best or row["select_bpb"] < best[row["arm"]]["select_bpb"]:
            best[row["arm"]] = row
    ranking = [
        {"arm": row["arm"], "ours": row["ours"], "budget": row["budget"], "gain_bpb": row["gain_bpb"]}
        for row in sorted(best.values(), key=lambda row: (-_gain(row), row["arm"]))
    ]
    return {
        "view": name,
        "budget": budget,
        "cap": cap,
        "rival": rival["arm"] if rival is not None else None,
        "winner": ranking[0]["arm"] if ranking else None,
        "ranking": ranking,
    }


def _gain(row: Row) -> float:
    return float(row["gain_bpb"]["estimate"])
