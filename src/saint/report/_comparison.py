"""What a comparison found, in words and tables that a terminal, a page and Markdown share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._text import spell

Row = Mapping[str, Any]
_CONTINUES = "in the page and in table.md: tokens, operations, memory, merge drift, every learning rate that was tried"


def comparison_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """A comparison for a terminal: one table for each budget, then who wins which view."""
    parts: list[RenderableType] = [Text(line) for line in heading_lines(record)]
    for budget, rows in by_budget(record):
        parts.append(_table(record, budget, rows))
    parts += [Text(line) for line in (*reading_lines(record), _CONTINUES, "")]
    parts += [
        Text(line, style="" if view["winner"] == record["plan"]["rival"] else "bold")
        for view in record["views"]
        for line in [view_sentence(view, record["plan"]["rival"])]
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


def heading_lines(record: Mapping[str, Any]) -> list[str]:
    """What was compared on what."""
    base, plan, held_out = record["base"], record["plan"], record["data"][f"{record['grown_domain']}/held_out"]
    schedule = plan["schedule"]
    tokens = schedule["num_steps"] * schedule["batch_size"] * schedule["seq_len"]
    return [
        (
            f"{record['name']}: {base['architecture']} {base['digest'][:12]}, {base['num_params']:,} parameters, "
            f"grown towards {record['grown_domain']}"
        ),
        (
            f"every run learns from {tokens:,} tokens at most; gain is on {held_out['num_documents']:,} held-out "
            f"documents ({held_out['num_bytes']:,} bytes)"
        ),
    ]


def reading_lines(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    plan = record["plan"]
    num_seeds = len(plan["seeds"])
    unit = (
        f"brackets are 95 % intervals over documents and {num_seeds} seeds"
        if num_seeds > 1
        else "brackets are 95 % intervals over documents only: with one seed they say nothing about other seeds"
    )
    compared = max((row["num_compared"] for row in record["rows"]), default=0)
    lines = [
        f"bits per byte; {unit}; * marks controls",
        (
            f"up to {compared} arms of ours were held against {plan['rival']} at one budget; 'corrected' intervals "
            "allow for that number (Bonferroni)"
        ),
    ]
    if edges := [row for row in record["rows"] if row["lr_at_the_edge"]]:
        lines.append(
            f"{len(edges)} of {len(record['rows'])} rows have their best learning rate (marked >) at the edge of what "
            "was tried, so they may gain more with more tries"
        )
    cost = record["cost"]
    if cost["resumed"]:
        lines.append(
            f"{cost['num_known']} of {cost['num_jobs']} pieces of work were there already; all together took "
            f"{cost['seconds_of_jobs']:.0f} s of {record['machine']['num_workers']} workers, which is where the "
            f"{cost['seconds']:.0f} s are from"
        )
    return lines


def view_sentence(view: Mapping[str, Any], rival: str) -> str:
    """Who wins a view, by how much, and where the rival is."""
    where = view["view"] + (f" at {spell_budget(view['budget'])}" if view["budget"] is not None else "")
    if view["cap"] is not None:
        unit = "bytes" if view["view"] == "equal bytes" else "s"
        where += f" (up to {view['cap']:,.0f} {unit})" if unit == "bytes" else f" (up to {view['cap']:.1f} {unit})"
    if not view["ranking"]:
        return f"{where}: nothing to rank"
    first, *others = view["ranking"]
    said = f"{where}: {first['arm']} wins with {_gain_of(first, view)}"
    if first["arm"] == rival:
        ours = next((one for one in others if one["ours"]), None)
        return said + (f"; the best of ours is {ours['arm']} with {_gain_of(ours, view)}" if ours else "")
    place = next((n for n, one in enumerate(others, start=2) if one["arm"] == rival), None)
    if place is None:
        return f"{said}; {rival} has no row there"
    return f"{said}; {rival} is number {place} of {len(view['ranking'])} with {_gain_of(others[place - 2], view)}"


def failure_lines(record: Mapping[str, Any]) -> list[str]:
    """What diverged, at which learning rate or seed; failures are kept."""
    lines = []
    for row in record["rows"]:
        where = f"{row['arm']} at {spell_budget(row['budget'])}"
        lines += [f"{where}, lr {one['lr']:g}: {one['failure']}" for one in row["tried"] if one["failure"]]
        lines += [f"{where}, seed {one['seed']}: {one['failure']}" for one in row["seeds"] if "failure" in one]
    return lines


def spell_budget(budget: float | None) -> str:
    """A share of the base's parameters, in per cent."""
    return "the whole base" if budget is None else f"{100 * budget:g} %"


def arm_name(row: Row) -> str:
    """An arm, marked when it is a control."""
    return f"{row['arm']}{'' if row['ours'] else '*'}"


def short_cells(record: Mapping[str, Any], row: Row) -> list[str]:
    """What a table says about a row before anything else."""
    if row["status"] != "measured":
        return [arm_name(row), "", row["status"], *[""] * (5 + len(_domains(record)))]
    return [
        arm_name(row),
        str(len(row["sites"]) or "all"),
        f"{row['num_params']:,}",
        f"{row['num_bytes']:,}",
        f"{row['lr']:.3g}{' >' if row['lr_at_the_edge'] else ''}",
        spell(row["gain_bpb"]),
        "" if row["difference_bpb"] is None else spell(row["difference_bpb"]),
        *(spell(row["regression_bpb"][domain]) for domain in _domains(record)),
        f"{row['seconds']:.1f}",
    ]


def short_heads(record: Mapping[str, Any]) -> list[str]:
    """The heads of `short_cells`."""
    rival, grown = record["plan"]["rival"], record["grown_domain"]
    lost = [f"loss on {domain}" for domain in _domains(record)]
    return ["arm", "sites", "parameters", "bytes", "lr", f"gain on {grown}", f"against {rival}", *lost, "seconds"]


def cost_heads() -> list[str]:
    """The heads of `cost_cells`."""
    heads = ["arm", "budget", "gain per 1k parameters", "per kB", "per TFLOP", "per second", "tokens", "training FLOPs"]
    return [*heads, "added FLOPs per token", "training memory", "on the device", "merge drift", "corrected difference"]


def cost_cells(row: Row) -> list[str]:
    """What a row's gain cost, and what it gains per unit of it."""
    if row["status"] != "measured":
        return [arm_name(row), spell_budget(row["budget"]), row["status"], *[""] * 10]
    per = row["gain_per"]
    units = {"parameter": 1e3, "byte": 1e3, "flop": 1e12, "second": 1.0}
    peak, drift = row["peak_bytes_on_device"], row["merge_drift"]
    return [
        arm_name(row),
        spell_budget(row["budget"]),
        *("" if per[name] is None else f"{per[name] * unit:+.3g}" for name, unit in units.items()),
        f"{row['train_tokens']:,}",
        f"{row['train_flops']:.3g}",
        f"{row['flops_per_token']:,}",
        f"{row['memory_bytes'] / 1e6:.1f} MB",
        "not measured" if peak is None else f"{peak / 1e6:.1f} MB",
        "cannot be merged" if drift is None else f"{drift:.2g}",
        "" if row["corrected_bpb"] is None else spell(row["corrected_bpb"]),
    ]


def _table(record: Mapping[str, Any], budget: float | None, rows: Sequence[Row]) -> Table:
    allowed = f", {rows[0]['num_params_allowed']:,} parameters" if budget is not None else ""
    table = Table(title=f"{spell_budget(budget)}{allowed}", title_justify="left")
    for head in _narrow(short_heads(record)):
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


def _gain_of(one: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    other = "" if one["budget"] in (None, view["budget"]) else f" (its {spell_budget(one['budget'])})"
    return f"{spell(one['gain_bpb'])}{other}"


def _by_gain(row: Row) -> tuple[bool, float]:
    return row["gain_bpb"] is None, -(row["gain_bpb"] or {"estimate": 0.0})["estimate"]


def to_markdown(record: Mapping[str, Any]) -> str:
    """A comparison as Markdown, complete enough to be kept as a result."""
    machine, versions = record["machine"], record["versions"]
    lines = [f"# {record['name']}", "", *heading_lines(record), "", "```console", f"$ {record['command']}", "```", ""]
    for budget, rows in by_budget(record):
        lines += [f"## {spell_budget(budget)}", ""]
        lines += _markdown(short_heads(record), (short_cells(record, row) for row in rows))
    lines += [f"- {line}" for line in reading_lines(record)]
    lines += ["", "## Who wins", ""]
    lines += [f"- {view_sentence(view, record['plan']['rival'])}" for view in record["views"]]
    lines += ["", "## What it costs", ""]
    lines += _markdown(cost_heads(), (cost_cells(row) for _, rows in by_budget(record) for row in rows))
    lines += [
        "## Learning rates",
        "",
        "Bits per byte on development text with the first seed; the best rate is used.",
        "",
    ]
    lines += _markdown(["arm", "budget", "tried"], (_tried(row) for row in record["rows"]))
    if failures := failure_lines(record):
        lines += ["## Failures", "", *(f"- {line}" for line in failures), ""]
    lines += [
        "## Provenance",
        "",
        f"- plan {record['plan_digest']}",
        f"- base {record['base']['digest']}",
        *(f"- {name} {found['digest']}" for name, found in record["data"].items()),
        f"- {', '.join(f'{name} {value}' for name, value in versions.items())}",
        (
            f"- {machine['processor']}, {machine['num_cores']} cores, {machine['num_workers']} workers of one thread "
            f"on {machine['device']}, {record['cost']['seconds']:.0f} s"
        ),
    ]
    return "\n".join(lines) + "\n"


def _tried(row: Row) -> list[str]:
    rates = (
        f"{one['lr']:.3g}: {'diverged' if one['select_bpb'] is None else format(one['select_bpb'], '.4f')}"
        for one in row["tried"]
    )
    return [arm_name(row), spell_budget(row["budget"]), ", ".join(rates)]


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in row] for row in (heads, *rows)]
    return [
        *(f"| {' | '.join(row)} |" for row in escaped[:1]),
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in escaped[1:]),
        "",
    ]
