"""What the pages of studies have in common, on a terminal and as Markdown, and how they are written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint import records
from saint.report._figure import Figure
from saint.report._svg import Row as ForestRow, forest
from saint.report._written import Picture, markdown_table, write_picture, write_whole

Record = Mapping[str, Any]


class Sheet(NamedTuple):
    """One table of a page."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPage:
    """What a study says, in the order in which it is shown."""

    heading: Sequence[str]
    sheets: Sequence[Sheet]
    reading: Sequence[str]
    """How the numbers are to be read, and what else is to be said of them."""
    figures: Sequence[str] = field(default=())


def page_parts(page: StudyPage) -> list[RenderableType]:
    """A page for a terminal; its figures are for whoever prints lines."""
    return [*map(Text, page.heading), *map(_rich, page.sheets), *map(Text, page.reading)]


def page_markdown(record: Record, page: StudyPage) -> str:
    """A page as Markdown, with the command and where it all comes from, complete enough to be kept as a result."""
    lines = [f"# {record['name']}", "", *page.heading, "", "```console", f"$ {record['command']}", "```", ""]
    for title, heads, rows in page.sheets:
        lines += [f"## {title}", "", *markdown_table(heads, rows)]
    lines += [f"- {line}" for line in page.reading]
    if page.figures:
        lines += ["", "## Figures", "", "```text", *page.figures, "```"]
    return "\n".join([*lines, "", *provenance_lines(record)]) + "\n"


def provenance_lines(record: Record) -> list[str]:
    """Plan, code, base if there is one, text, versions and machine."""
    machine, base = record["machine"], record.get("base")
    return [
        "## Provenance",
        "",
        f"- plan {record['plan_digest']}",
        f"- code {record['code']}",
        *([f"- base {base['digest']}"] if base else []),
        *(f"- {name} {found['digest']}" for name, found in record["data"].items()),
        f"- {', '.join(f'{name} {value}' for name, value in record['versions'].items())}",
        f"- {machine['processor']}, {machine['num_cores']} cores, {machine['num_workers']} workers of one thread",
    ]


def write_page(record: Record, folder: Path, markdown: str, pictures: Mapping[str, Picture | None]) -> None:
    """Write results.json, table.md and those pictures that there are, each whole or not at all; results.json last."""
    for name, picture in pictures.items():
        if picture is not None:
            write_picture(folder / name, picture)
    write_whole(folder / "table.md", markdown)
    write_whole(folder / "results.json", records.to_canonical(record))


def forest_row(label: str, interval: Mapping[str, float], color: str) -> ForestRow:
    """An interval as plain data, for `forest_of`."""
    return ForestRow(label, interval["estimate"], interval["low"], interval["high"], color)


def forest_of(rows: Sequence[ForestRow], *, x_label: str, colors: Mapping[str, str] | None = None) -> Picture | None:
    """A picture of intervals below each other; None where there are none.

    Args:
        colors: What is meant -> its colour; those that are there get into the legend.
    """
    if not rows:
        return None
    legend = [(css, meaning) for meaning, css in (colors or {}).items() if any(row.color == css for row in rows)]
    return Picture(forest(rows, x_label=x_label), legend)


def wall_clock(record: Record, limit: float | None) -> list[Figure]:
    """The figure of all sessions together, where there is a limit for them."""
    if limit is None:
        return []
    wall_s = sum(one["wall_s"] for one in record["sessions"])
    return [Figure(name="seconds", value=wall_s, target=limit, sense="at_most")]


def claim_figures(record: Record) -> list[Figure]:
    """The claims that could be measured, and the wall clock where the plan has a limit."""
    figures = [
        Figure(name=one["name"], value=one["value"], target=one["target"], sense=one.get("sense", "at_least"))
        for one in record["claims"]
        if one["value"] is not None
    ]
    return [*figures, *wall_clock(record, record["plan"].get("seconds"))]


def claims_unmeasured(record: Record) -> list[str]:
    """A line for each claim of which a model did not learn."""
    return [
        f"{one['name']} was not measured: {one['better']} or {one['than']} did not learn"
        for one in record["claims"]
        if one["value"] is None
    ]


def claim_lines(record: Record) -> list[str]:
    """Each figure, and what could not be measured."""
    return [*map(str, claim_figures(record)), *claims_unmeasured(record)]


def _rich(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left")
    for head in sheet.heads:
        table.add_column(Text(head))
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
