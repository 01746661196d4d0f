"""A search on a cluster that was simulated, in words, tables and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._svg import Point, Series, chart
from saint.report._written import Picture, markdown_table, write_picture, write_whole

_WAYS = {
    "spot": "grafts spot-checked",
    "spot_failing": "spot-checked, workers fail",
    "helped": "in full, by checkers",
    "all": "in full, by the coordinator",
    "all_failing": "in full, workers fail",
}
_ENOUGH = 0.9
_UNITS = (
    ("lease_s", "leasing a trial and checking it off (few workers)"),
    ("beat_s", "a heartbeat (few workers)"),
    ("answer_s", "reading a graft"),
    ("append_s", "appending it to the ledger"),
    ("measure_s", "measuring it again on all of development text"),
    ("judge_s", "measuring and judging a finalist"),
    ("round_s", "beginning and ending a round"),
)


def sweep_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """The simulations for a terminal."""
    parts: list[RenderableType] = [Text(line) for line in _heading(record)]
    for title, heads, rows in _tables(record):
        table = Table(title=title, title_justify="left")
        for place, head in enumerate(heads):
            table.add_column(Text(head), justify="right" if place else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        parts.append(table)
    return [*parts, *(Text(line) for line in _reading(record))]


def write_sweep(record: Mapping[str, Any], folder: Path) -> None:
    """Write `simulation.md` and its picture `simulation.svg`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_picture(folder / "simulation.svg", _picture(record))
    lines = ["# A search on 1 to 1,000 workers, simulated", "", "```console", f"$ {record['command']}", "```", ""]
    lines += [f"{line}\n" for line in _heading(record)]
    for title, heads, rows in _tables(record):
        lines += [f"## {title}", "", *markdown_table(heads, rows)]
    lines += [f"- {line}" for line in _reading(record)]
    lines += ["", "![Utilisation over the number of workers](simulation.svg)"]
    write_whole(folder / "simulation.md", "\n".join(lines) + "\n")


def prediction_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """What a plan would take on a cluster, and what that rests on."""
    table = Table(title=record["title"], title_justify="left", show_header=False)
    for what, value in record["rows"]:
        table.add_row(Text(what), Text(value))
    return [table, *(Text(f"assumed: {line}") for line in record["assumptions"])]


def _heading(record: Mapping[str, Any]) -> list[str]:
    trial, life = record["trial_s"], record["life_s"] / 3600
    said = (
        f"Trials of {trial['mean']:g} s ({trial['low']:g} to {trial['high']:g}), {record['per_worker']} for each worker"
    )
    said += f" in one round, {record['finalists']} finalists; where workers fail, one lives for {life:g} h on average. "
    said += (
        f"Spot checks measure a graft again on {record['spot_check']:.0%} of development text. All of it is measured "
    )
    said += f"by the coordinator, or by {record['num_checkers']} checkers beside it. "
    return [said + f"Seed {record['seed']}. Unit costs: {record['units']['source']}."]


def _tables(record: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    rows = record["rows"]
    ways = [
        [
            f"{row['workers']:,}",
            *(f"{row[way]['utilisation']:.1%}" for way in _WAYS),
            f"{row['spot']['coordinator_share']:.1%}",
            f"{row['helped']['coordinator_share']:.1%}",
            f"{row['all']['coordinator_share']:.1%}",
            f"{row['spot']['trials_per_hour']:,.0f}",
            f"{row['helped']['trials_per_hour']:,.0f}",
            f"{row['all']['trials_per_hour']:,.0f}",
            f"{row['spot_failing']['num_lost']:,}",
        ]
        for row in rows
    ]
    heads = [
        "workers",
        *_WAYS.values(),
        "coordinator busy",
        "by checkers",
        "in full",
        "trials/h",
        "by checkers",
        "in full",
        "lost",
    ]
    found = [("Workers' time spent training what was checked", heads, ways)]
    sizes = list(rows[0]["rounds"])
    small = [
        [f"{row['workers']:,}", *(f"{row['rounds'][size]['utilisation']:.1%}" for size in sizes)]
        + [f"{row['rounds'][size]['trials_per_hour']:,.0f}" for size in sizes]
        for row in rows
    ]
    if sizes:
        named = [f"{size} a round" for size in sizes]
        heads = ["workers", *named, *(f"trials/h, {one}" for one in named)]
        found.append(("The same with the ends of rounds, at which all wait; grafts spot-checked", heads, small))
    units = [[words, f"{1000 * record['units'][name]:,.3g}"] for name, words in _UNITS]
    return [*found, ("What keeps the coordinator busy", ["what", "ms"], units)]


def _reading(record: Mapping[str, Any]) -> list[str]:
    """What the tables say, from the tables."""
    rows, lines = record["rows"], []
    for way in ("spot", "helped", "all"):
        enough = [row["workers"] for row in rows if row[way]["utilisation"] >= _ENOUGH]
        most = max(enough, default=0)
        last = next((row for row in rows if row["workers"] == most), rows[0])
        limit = record["trial_s"]["mean"] / last["per_trial_s"][way]
        lines.append(
            f"{_WAYS[way]}: at least {_ENOUGH:.0%} up to {most:,} workers of those that were tried; who sees "
            f"to trials, every {1000 * last['per_trial_s'][way]:,.3g} ms at the fastest, could keep {limit:,.0f} busy"
        )
    return lines


def _picture(record: Mapping[str, Any]) -> Picture:
    series = [
        Series(name, [_point(row, row[way]["utilisation"]) for row in record["rows"]]) for way, name in _WAYS.items()
    ]
    series += [
        Series(f"rounds of {size}", [_point(row, row["rounds"][size]["utilisation"]) for row in record["rows"]])
        for size in list(record["rows"][0]["rounds"])[:2]
    ]
    svg = chart(series, x_label="workers", y_label="share of workers' time", log_x=True)
    return Picture(svg, [(f"c{index}", one.name) for index, one in enumerate(series)])


def _point(row: Mapping[str, Any], value: float) -> Point:
    return Point(row["workers"], value, f"{row['workers']:,} workers, {value:.1%}")
