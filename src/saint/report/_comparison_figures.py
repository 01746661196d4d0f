"""The figures that a comparison was asked to reach, and what has to be said beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

from saint.report._comparison_words import edge_lines, spell_budget
from saint.report._figure import Figure

_RATIOS = ("gain_per_byte_ratio", "gain_per_byte_ratio_no_less_gain")
_WHY_NOT = {
    "gain_per_byte_ratio": "at the smallest budget the rival has no gain, or no arm of ours spends as much as it does",
    "gain_per_byte_ratio_no_less_gain": "the rival has no gain at the smallest budget, or no row of ours gains as much",
    "seconds": "an earlier session, whose length was not recorded, has done a part of the work",
}


def comparison_figures(record: Mapping[str, Any]) -> list[Figure]:
    """The figures that the plan has targets for and that could be measured."""
    return [
        Figure(name=name, value=value, target=target, sense="at_most" if name == "seconds" else "at_least")
        for name, value, target in _wanted(record)
        if value is not None
    ]


def unmeasured_lines(record: Mapping[str, Any]) -> list[str]:
    """A line for each figure that has a target and could not be measured."""
    return [f"{name} was not measured: {_WHY_NOT[name]}" for name, value, _ in _wanted(record) if value is None]


def figure_lines(record: Mapping[str, Any]) -> list[str]:
    """Each figure, with what it is of; then what could not be measured, and which rival may be stronger than it was."""
    lines = []
    for figure in comparison_figures(record):
        lines += [str(figure), *_beside(record, figure.name)]
    lines += unmeasured_lines(record)
    return [*lines, *edge_lines(record)] if lines else []


def _wanted(record: Mapping[str, Any]) -> Iterable[tuple[str, float | None, float]]:
    """Name, value and target of each figure that has a target; the corrected count has that of the plain one."""
    targets = record["plan"].get("targets") or {}
    for name, value in _values(record):
        if (target := targets.get(name.removesuffix("_corrected"))) is not None:
            yield name, value, target


def _values(record: Mapping[str, Any]) -> Iterable[tuple[str, float | None]]:
    figures = record["figures"]
    for name in ("budgets_won", "budgets_won_corrected"):
        yield name, figures[name]
    for name in _RATIOS:
        yield name, figures[name]["ratio"] if figures[name] is not None else None
    yield "seconds", record["cost"]["seconds"]


def _beside(record: Mapping[str, Any], name: str) -> list[str]:
    figures = record["figures"]
    if name == "budgets_won":
        return ["  with an interval for one arm of ours; the best of several is lucky, for which the next allows"]
    if name == "budgets_won_corrected":
        return []
    if name in _RATIOS:
        return [f"  {_spender(figures[name]['ours'])} against {_spender(figures[name]['rival'])}"]
    sessions = len(record["cost"]["sessions"])
    return [f"  wall clock of {sessions} session{'s' if sessions > 1 else ''}"]


def _spender(row: Mapping[str, Any]) -> str:
    where = spell_budget(row["budget"])
    return f"{row['arm']} at {where} ({row['num_params']:,} parameters, {row['num_bytes']:,} bytes)"
