"""A comparison as a page and pictures, beside its results and its table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from saint import records
from saint.report._comparison import by_budget, cost_cells, cost_heads, short_cells, short_heads, to_markdown
from saint.report._comparison_figures import figure_lines
from saint.report._comparison_words import (
    arm_name,
    edge_lines,
    failure_lines,
    heading_lines,
    reading_lines,
    rival_at,
    rival_kind,
    spell_budget,
    spell_cost,
    view_sentence,
)
from saint.report._spelling import spell
from saint.report._svg import Point, Row, Series, chart, forest
from saint.report._written import Picture, write_picture, write_whole

_NUM_COLORS = 10


def write_comparison(record: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, table.md, report.html and the pictures, each whole or not at all; results.json last."""
    pictures = comparison_pictures(record)
    for name, picture in pictures.items():
        write_picture(folder / f"{name}.svg", picture)
    write_whole(folder / "table.md", to_markdown(record))
    write_whole(folder / "report.html", comparison_html(record))
    write_whole(folder / "results.json", records.to_canonical(record))


def comparison_pictures(record: Mapping[str, Any]) -> dict[str, Picture]:
    """Name -> picture: gain against parameters, bytes and forgetting, and differences to the rival for each budget."""
    gained = f"bits per byte saved on {record['grown_domain']}"
    rows = [row for row in record["rows"] if row["status"] == "measured"]
    if not rows:
        return {}
    found = {
        "gain-by-parameters": _gains(record, rows, "num_params", "trained parameters", gained, apart=5.0),
        "gain-by-bytes": _gains(record, rows, "num_bytes", "stored bytes", gained),
        "gain-by-loss": _tradeoff(record, rows, gained),
    }
    for budget, there in by_budget(record):
        if picture := _differences(record, budget, there):
            found[f"against-{rival_kind(record)}-{spell_budget(budget).replace(' %', 'pc')}"] = picture
    return {name: picture for name, picture in found.items() if picture is not None}


def comparison_html(record: Mapping[str, Any]) -> str:
    """One self-contained page: no script, no network, light and dark."""
    environment = Environment(loader=PackageLoader("saint.report", "."), autoescape=True, undefined=StrictUndefined)
    pictures = {name: Markup(picture.svg) for name, picture in comparison_pictures(record).items()}  # noqa: S704 - escaped in _svg
    return environment.get_template("_comparison.html.j2").render(
        r=record,
        budgets=[
            (spell_budget(budget), rival_at(record, budget), short_heads(record, budget), rows)
            for budget, rows in by_budget(record)
        ],
        rival_kind=rival_kind(record),
        heading=heading_lines(record),
        reading=[*reading_lines(record), *edge_lines(record)],
        figures=figure_lines(record),
        took=spell_cost(record),
        views=[(view, view_sentence(view)) for view in record["views"]],
        failures=failure_lines(record),
        cells=lambda row: short_cells(record, row),
        cost_heads=cost_heads(),
        cost_cells=cost_cells,
        arm_name=arm_name,
        budget=spell_budget,
        pictures={name: svg for name, svg in pictures.items() if not name.startswith("against-")},
        differences={name: svg for name, svg in pictures.items() if name.startswith("against-")},
        num_colors=_NUM_COLORS,
        plan_text=json.dumps(record["plan"], indent=2),
    )


def _color(record: Mapping[str, Any], arm: str) -> str:
    """The same look for an arm in every picture: ten colours, then these again with squares and dotted lines.

    Controls are hollow and dashed.
    """
    names = list(dict.fromkeys(row["arm"] for row in record["rows"]))
    ours = next(row["ours"] for row in record["rows"] if row["arm"] == arm)
    place = names.index(arm)
    again = place // _NUM_COLORS % 2
    return f"c{place % _NUM_COLORS}{' second' if again else ''}{'' if ours else ' control'}"


def _gains(
    record: Mapping[str, Any], rows: list[dict[str, Any]], key: str, x_label: str, y_label: str, *, apart: float = 0.0
) -> Picture:
    series = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row[key])
        points = [_point(row, row[key], f"{spell_budget(row['budget'])}, {row[key]:,} {x_label}") for row in mine]
        series.append(Series(arm_name(mine[0]), points, css=_color(record, arm)))
    svg = chart(series, x_label=f"{x_label} (logarithmic)", y_label=y_label, height=360, log_x=True, apart=apart)
    return Picture(svg, [(one.css, one.name) for one in series])


def _tradeoff(record: Mapping[str, Any], rows: list[dict[str, Any]], y_label: str) -> Picture | None:
    series = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm and row["regression_bpb"]]
        points = [
            _point(row, max(one["estimate"] for one in row["regression_bpb"].values()), spell_budget(row["budget"]))
            for row in mine
        ]
        if points:
            series.append(Series(arm_name(mine[0]), points, css=_color(record, arm)))
    if not series:
        return None
    svg = chart(series, x_label="bits per byte lost on the worst retained domain", y_label=y_label, height=360)
    return Picture(svg, [(one.css, one.name) for one in series])


def _point(row: Mapping[str, Any], x: float, label: str) -> Point:
    gain = row["gain_bpb"]
    return Point(x, gain["estimate"], f"{label}, gain {spell(gain)}", gain["low"], gain["high"])


def _differences(record: Mapping[str, Any], budget: float | None, rows: list[Mapping[str, Any]]) -> Picture | None:
    held = sorted((row for row in rows if row["difference_bpb"]), key=lambda row: -row["difference_bpb"]["estimate"])
    if not held:
        return None
    svg = forest(
        [
            Row(
                arm_name(row),
                d["estimate"],
                d["low"],
                d["high"],
                "better" if d["low"] > 0 else "worse" if d["high"] < 0 else "even",
            )
            for row in held
            for d in [row["difference_bpb"]]
        ],
        x_label=f"bits per byte saved more than {rival_at(record, budget)}",
    )
    return Picture(svg, [("better", "gains more"), ("even", "cannot be told apart"), ("worse", "gains less")])
