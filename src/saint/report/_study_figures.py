"""The figures that a study was asked to reach."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from saint.report._figure import Figure

_SENSES: Mapping[str, Literal["at_least", "at_most"]] = {
    "best_map_spearman_within_role": "at_least",
    "short_run_third_spearman": "at_least",
    "best_map_top6_regret": "at_most",
}
_WHY_NOT = {
    "best_map_spearman_within_role": "no role has two sites whose gains and scores differ",
    "short_run_third_spearman": "the plan takes no third of the steps as a guess, or no gains differ",
    "best_map_top6_regret": "the plan chooses no first 6, or no candidate gains",
}


def study_figures(record: Mapping[str, Any]) -> list[Figure]:
    """The figures that the plan has targets for and that could be measured."""
    return [
        Figure(name=name, value=found["value"], target=target, sense=_SENSES[name])
        for name, found, target in _wanted(record)
        if found is not None
    ]


def study_unmeasured(record: Mapping[str, Any]) -> list[str]:
    """A line for each figure that has a target and could not be measured."""
    return [f"{name} was not measured: {_WHY_NOT[name]}" for name, found, _ in _wanted(record) if found is None]


def study_figure_lines(record: Mapping[str, Any]) -> list[str]:
    """Each figure with the guess that it is of, then what could not be measured."""
    lines = []
    for figure in study_figures(record):
        lines += [str(figure), f"  {record['figures'][figure.name]['guess']}{_luck(record, figure.name)}"]
    return [*lines, *study_unmeasured(record)]


def _luck(record: Mapping[str, Any], name: str) -> str:
    number = sum(row["sort"] == "map" for row in record["rows"])
    return f", the best of {number} maps on these very gains" if name.startswith("best_map") and number > 1 else ""


def _wanted(record: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any] | None, float]]:
    targets = record["plan"].get("targets") or {}
    for name in _SENSES:
        if (target := targets.get(name)) is not None:
            yield name, record["figures"][name], target
