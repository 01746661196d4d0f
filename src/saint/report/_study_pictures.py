"""A study's pictures: each guess against the gains, rank correlations, and regrets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saint import records
from saint.report._spelling import spell
from saint.report._study import study_markdown
from saint.report._svg import Panel, Point, Row, forest, panels
from saint.report._written import Picture, write_picture, write_whole

_NUM_COLORS = 10
_COLORS = {"map": "c0", "short run": "c1", "control": "c2"}


def write_study(record: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, table.md and the pictures, each whole or not at all; results.json last."""
    for name, picture in study_pictures(record).items():
        write_picture(folder / f"{name}.svg", picture)
    write_whole(folder / "table.md", study_markdown(record))
    write_whole(folder / "results.json", records.to_canonical(record))


def study_pictures(record: Mapping[str, Any]) -> dict[str, Picture]:
    """Name -> picture."""
    legend = [(css, sort) for sort, css in _COLORS.items() if any(row["sort"] == sort for row in record["rows"])]
    found = {"ranks": _ranks(record)}
    for view in ("all", "within role", "per parameter"):
        if rows := _rows(record, lambda row, view=view: row["views"][view]["spearman"]):
            label = f"rank correlation with the gain, {view}"
            found[f"correlation-{view.replace(' ', '-')}"] = Picture(forest(rows, x_label=label), legend)
    for top in record["plan"]["top"]:
        if rows := _rows(record, lambda row, top=top: row["views"]["all"]["regret"][str(top)]):
            found[f"regret-first-{top}"] = Picture(forest(rows, x_label=f"regret of the first {top}"), legend)
    return found


def _rows(record: Mapping[str, Any], value: Any) -> list[Row]:
    """The guesses that have a value, each with its interval; without one it is as wide as a point."""
    known = [(row, value(row)) for row in record["rows"] if value(row) is not None]
    return [
        Row(
            row["guess"],
            one["estimate"],
            one["estimate"] if one["low"] is None else one["low"],
            one["estimate"] if one["high"] is None else one["high"],
            _COLORS[row["sort"]],
        )
        for row, one in known
    ]


def _ranks(record: Mapping[str, Any]) -> Picture:
    """For each guess the gain of every candidate over its rank in the guess, the last first; colours are groups."""
    groups = list(dict.fromkeys(one["group"] for one in record["candidates"]))
    colors = {
        group: f"c{index % _NUM_COLORS}{' second' * (index // _NUM_COLORS % 2)}" for index, group in enumerate(groups)
    }
    shown = [
        Panel(name, [*_dots(record["candidates"], scores, colors)])
        for name, scores in record["scores"].items()
        if len(set(scores)) > 1
    ]
    svg = panels(shown, x_label="rank of the score, the highest on the right", y_label="bits per byte saved")
    return Picture(svg, [(css, group) for group, css in colors.items()])


def _dots(
    candidates: Sequence[Mapping[str, Any]], scores: Sequence[float], colors: Mapping[str, str]
) -> list[tuple[Point, str]]:
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    return [
        (
            Point(rank, one["gain_bpb"]["estimate"], f"{one['where']}, gain {spell(one['gain_bpb'])}"),
            colors[one["group"]],
        )
        for rank, one in ((rank, candidates[place]) for rank, place in enumerate(order, start=1))
    ]
