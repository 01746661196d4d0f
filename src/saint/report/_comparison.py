"""What a comparison found, in words and tables that a terminal, a page and Markdown share."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._comparison_figures import figure_lines
from saint.report._comparison_words import (
    arm_name,
    edge_lines,
    failure_lines,
    heading_lines,
    reading_lines,
    rival_at,
    spell_budget,
    spell_cost,
    view_sentence,
)
from saint.report._spelling import spell
from saint.report._written import markdown_table

Row = Mapping[str, Any]
_CONTINUES = "in the page and in table.md: tokens, operations, memory, merge drift, every learning rate that was tried"


def comparison_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """A comparison for a terminal: one table for each budget, then who wins which view."""
    parts: list[RenderableType] = [Text(line) for line in heading_lines(record)]
    for budget, rows in by_budget(record):
        parts.append(_table(record, budget, rows))
    parts += [Text(line) for line in (*reading_lines(record), *edge_lines(record), _CONTINUES, "")]
    parts += [
        Text(view_sentence(view), style="" if view["winner"] == view["rival"] else "bold") for view in record["views"]
    ]
    parts += [Text(line, style="red") for line in failure_lines(record)]
    return parts


def by_budget(record: Mapping[str, Any]) -> list[tuple[float | None, list[Row]]]:
    """The rows of each budget, the most gain first; whole bases last, under None."""
    budgets: list[float | None] = [
        *sorted({row["budget"] for row in record["rows"] if row["budget"] is not None}),
        None,
    ]
    grouped = ((budget, [row for row in record["rows"] if row["budget"] == budget]) for budget in budgets)
    return [(budget, sorted(rows, key=_by_gain)) for budget, rows in grouped if rows]


def short_cells(record: Mapping[str, Any], row: Row) -> list[str]:
    """What a table says about a row before anything else."""
    if row["status"] != "measured":
        return [arm_name(row), "", row["status"], *[""] * (6 + len(_domains(record)))]
    return [
        arm_name(row),
        str(len(row["sites"]) or "all"),
        f"{row['num_params']:,}",
        "" if row["budget"] is None else f"{row['num_params'] / row['num_params_allowed']:.0%}",
        f"{row['num_bytes']:,}",
        f"{row['lr']:.3g}{' >' if row['lr_at_the_edge'] else ''}",
        spell(row["gain_bpb"]),
        "" if row["difference_bpb"] is None else spell(row["difference_bpb"]),
        *(spell(row["regression_bpb"][domain]) for domain in _domains(record)),
        "not measured" if row["seconds"] is None else f"{row['seconds']:.1f}",
    ]


def short_heads(record: Mapping[str, Any], budget: float | None) -> list[str]:
    """The heads of `short_cells` at a budget."""
    rival, grown = rival_at(record, budget) or "the rival", record["grown_domain"]
    lost = [f"loss on {domain}" for domain in _domains(record)]
    heads = ["arm", "sites", "parameters", "of the budget", "bytes", "lr", f"gain on {grown}", f"against {rival}"]
    return [*heads, *lost, "seconds"]


def cost_heads() -> list[str]:
    """The heads of `cost_cells`."""
    heads = ["arm", "budget", "gain per 1k parameters", "per kB", "per TFLOP", "per second", "tokens", "training FLOPs"]
    return [
        *heads,
        "added FLOPs per token",
        "training memory, at least",
        "on the device",
        "merge drift",
        "corrected difference",
    ]


def cost_cells(row: Row) -> list[str]:
    """What a row's gain cost, and what it gains per unit of it."""
    if row["status"] != "measured":
        return [arm_name(row), spell_budget(row["budget"]), row["status"], *[""] * 10]
    per = row["gain_per"]
    units = {"parameter": 1e3, "byte": 1e3, "flop": 1e12, "second": 1.0}
    peak = row["peak_bytes_on_device"]
    return [
        arm_name(row),
        spell_budget(row["budget"]),
        *("" if per[name] is None else f"{per[name] * unit:+.3g}" for name, unit in units.items()),
        f"{row['train_tokens']:,}",
        f"{row['train_flops']:.3g}",
        f"{row['flops_per_token']:,}",
        f"{row['memory_bytes'] / 1e6:.1f} MB",
        "not measured" if peak is None else f"{peak / 1e6:.1f} MB",
        _merge_drift(row),
        "" if row["corrected_bpb"] is None else spell(row["corrected_bpb"]),
    ]


def _merge_drift(row: Row) -> str:
    """Of a whole base there is nothing to merge."""
    if row["budget"] is None:
        return ""
    return "cannot be merged" if row["merge_drift"] is None else f"{row['merge_drift']:.2g}"


def _table(record: Mapping[str, Any], budget: float | None, rows: Sequence[Row]) -> Table:
    allowed = f", {rows[0]['num_params_allowed']:,} parameters" if budget is not None else ""
    table = Table(title=f"{spell_budget(budget)}{allowed}", title_justify="left")
    for head in _narrow(short_heads(record, budget)):
        table.add_column(Text(head))
    for row in rows:
        style = "bold" if row["ours"] and row["difference_bpb"] and row["difference_bpb"]["low"] > 0 else ""
        table.add_row(*(Text(cell, style=style) for cell in _narrow(short_cells(record, row))))
    return table


def _narrow(cells: Sequence[str]) -> list[str]:
    """A terminal has no room for the number of sites."""
    return [cells[0], *cells[2:]]


def _domains(record: Mapping[str, Any]) -> list[str]:
    return [name for name in record["documents"] if name != "held_out"]


def _by_gain(row: Row) -> tuple[bool, float]:
    return row["gain_bpb"] is None, -(row["gain_bpb"] or {"estimate": 0.0})["estimate"]


def to_markdown(record: Mapping[str, Any]) -> str:
    """A comparison as Markdown, complete enough to be kept as a result."""
    machine, versions = record["machine"], record["versions"]
    lines = [f"# {record['name']}", "", *heading_lines(record), "", "```console", f"$ {record['command']}", "```", ""]
    for budget, rows in by_budget(record):
        lines += [f"## {spell_budget(budget)}", ""]
        lines += markdown_table(short_heads(record, budget), (short_cells(record, row) for row in rows))
    lines += [f"- {line}" for line in (*reading_lines(record), *edge_lines(record))]
    if figures := figure_lines(record):
        lines += ["", "## Figures", "", "```text", *figures, "```"]
    lines += ["", "## Who wins", ""]
    lines += [f"- {view_sentence(view)}" for view in record["views"]]
    lines += ["", "## What it costs", ""]
    lines += markdown_table(cost_heads(), (cost_cells(row) for _, rows in by_budget(record) for row in rows))
    lines += [
        "## Learning rates",
        "",
        "Bits per byte on development text with the first seed; the best rate is used.",
        "",
    ]
    lines += markdown_table(["arm", "budget", "tried"], (_tried(row) for row in record["rows"]))
    if failures := failure_lines(record):
        lines += ["## Failures", "", *(f"- {line}" for line in failures), ""]
    lines += [
        "## Provenance",
        "",
        f"- plan {record['plan_digest']}",
        f"- code {record['code_digest']}",
        f"- base {record['base']['digest']}",
        *(f"- {name} {found['digest']}" for name, found in record["data"].items()),
        f"- {', '.join(f'{name} {value}' for name, value in versions.items())}",
        (
            f"- {machine['processor']}, {machine['num_cores']} cores, {machine['num_workers']} workers of one thread "
            f"on {machine['device']}, {spell_cost(record)}"
        ),
    ]
    return "\n".join(lines) + "\n"


def _tried(row: Row) -> list[str]:
    rates = (
        f"{one['lr']:.3g}: {'diverged' if one['select_bpb'] is None else format(one['select_bpb'], '.4f')}"
        for one in row["tried"]
    )
    return [arm_name(row), spell_budget(row["budget"]), ", ".join(rates)]
