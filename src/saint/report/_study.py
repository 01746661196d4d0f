"""What a study found, in words and tables that a terminal and Markdown share."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._spelling import spell
from saint.report._study_figures import study_figure_lines
from saint.report._study_page import provenance_lines
from saint.report._written import markdown_table

Row = Mapping[str, Any]


def study_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """A study for a terminal: how well each guess ranks, then what each way of choosing found at what cost."""
    parts: list[RenderableType] = [Text(line) for line in _heading(record)]
    parts.append(_table("Rank correlation with the gain", correlation_heads(), record["rows"], correlation_cells))
    for name in ("all", "within role"):
        title = f"Regret of the first few{', within each role' if name != 'all' else ''}"
        heads = regret_heads(record)
        parts.append(_table(title, heads, record["rows"], lambda row, view=name: regret_cells(record, row, view)))
    parts.append(_table("Ways to choose one", _STRATEGY_HEADS, record["strategies"], strategy_cells))
    parts += [Text(line) for line in reading_lines(record)]
    parts += [Text(line, style="red") for line in _failures(record)]
    return parts


def correlation_heads() -> list[str]:
    """The heads of `correlation_cells`."""
    return ["guess", "sort", "all", "within role", "per parameter"]


def correlation_cells(row: Row) -> list[str]:
    """A guess's rank correlations."""
    views = (row["views"][name]["spearman"] for name in ("all", "within role", "per parameter"))
    return [row["guess"], row["sort"], *(_spell(found, ".2f") for found in views)]


def regret_heads(record: Mapping[str, Any]) -> list[str]:
    """The heads of `regret_cells`."""
    return ["guess", "sort", *(f"first {top}" for top in record["plan"]["top"])]


def regret_cells(record: Mapping[str, Any], row: Row, view: str) -> list[str]:
    """A guess's regrets in one view."""
    found = (row["views"][view]["regret"][str(top)] for top in record["plan"]["top"])
    return [row["guess"], row["sort"], *(_spell(one, ".1%") for one in found)]


_STRATEGY_HEADS = ["way", "parameters", "training tokens", "share of all", "gain"]


def strategy_cells(row: Row) -> list[str]:
    """What one way found, and what it cost."""
    sizes = sorted(set(row["num_params"]))
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    return [row["name"], size, f"{row['train_tokens']:,}", f"{row['share_of_tokens']:.0%}", spell(row["gain_bpb"])]


def reading_lines(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    plan = record["plan"]
    return [
        (
            f"gains: held-out bits per byte saved, the mean over {len(plan['seeds'])} seeds; brackets are 95 % "
            "intervals, of rank correlations over resampled candidates, of regrets over resampled documents and seeds"
        ),
        "regret: 1 - the best gain among the first few of a guess / the best of all; ties are broken by chance",
        (
            "within role: ranks among sites of one role, all roles together; regret there is the mean over roles that "
            "have more sites than are chosen; '-' where no role has"
        ),
        "per parameter: scores and gains both divided by the number of trained parameters",
        (
            "another seed: the gains of one seed as a guess about another's, which no guess from before training is "
            "expected to beat; a short run's guess is from the very run that it is about"
        ),
        (
            "ways to choose one: kept is the best on select of what was trained to the end; its gain is of held-out "
            "text, with an interval over documents and seeds"
        ),
        *([_OF_SETS] if plan.get("sets") else []),
        winner_line(record),
    ]


_OF_SETS = (
    "compose, join, in stages, prune: ways to several sites at once, as many in each; what is made of the best also "
    "counts the tokens of training all candidates apart"
)


def winner_line(record: Mapping[str, Any]) -> str:
    """Which way gains most, and which is as good as far as can be told and learns from fewest tokens."""
    ways = record["strategies"]
    best = max(ways, key=lambda way: way["gain_bpb"]["estimate"])
    level = [way for way in ways if way["gain_bpb"]["high"] >= best["gain_bpb"]["estimate"]]
    cheapest = min(level, key=lambda way: way["train_tokens"])
    said = f"most gain: {best['name']}, {spell(best['gain_bpb'])}"
    if cheapest is best:
        return f"{said}, and none whose interval reaches that learns from fewer tokens"
    return (
        f"{said}; of the ways whose interval reaches that, fewest tokens ({cheapest['share_of_tokens']:.0%} of all): "
        f"{cheapest['name']}, {spell(cheapest['gain_bpb'])}"
    )


def study_markdown(record: Mapping[str, Any]) -> str:
    """A study as Markdown, complete enough to be kept as a result."""
    rows = record["rows"]
    lines = [f"# {record['name']}", "", *_heading(record), "", "```console", f"$ {record['command']}", "```", ""]
    lines += [
        "## Rank correlation with the gain",
        "",
        *markdown_table(correlation_heads(), map(correlation_cells, rows)),
    ]
    for view, title in (
        ("all", "Regret"),
        ("within role", "Regret within each role"),
        ("per parameter", "Regret of gain per parameter"),
    ):
        lines += [f"## {title}", ""]
        lines += markdown_table(regret_heads(record), (regret_cells(record, row, view) for row in rows))
    lines += ["## Ways to choose one", "", *markdown_table(_STRATEGY_HEADS, map(strategy_cells, record["strategies"]))]
    lines += [f"- {line}" for line in (*reading_lines(record), *_failures(record))]
    if figures := study_figure_lines(record):
        lines += ["", "## Figures", "", "```text", *figures, "```"]
    lines += ["", "## Candidates", ""]
    by_gain = sorted(record["candidates"], key=lambda one: -one["gain_bpb"]["estimate"])
    lines += markdown_table(["where", "kind", "group", "parameters", "gain"], map(_candidate_cells, by_gain))
    return "\n".join([*lines, *provenance_lines(record)]) + "\n"


def _heading(record: Mapping[str, Any]) -> list[str]:
    base, plan = record["base"], record["plan"]
    held_out = record["data"][f"{record['grown_domain']}/held_out"]
    schedule = plan["schedule"]
    tokens = schedule["num_steps"] * schedule["batch_size"] * schedule["seq_len"]
    return [
        (
            f"{record['name']}: {base['architecture']} {base['digest'][:12]}, {base['num_params']:,} parameters, "
            f"grown towards {record['grown_domain']}"
        ),
        (
            f"{len(record['candidates'])} candidates x {len(plan['seeds'])} seeds, each trained on {tokens:,} tokens "
            f"at most; gains are of {held_out['num_documents']:,} held-out documents"
        ),
    ]


def _failures(record: Mapping[str, Any]) -> list[str]:
    return [
        f"{one['where']} with seed {seed} failed and counts as no gain: {reason}"
        for one in record["candidates"]
        for seed, reason in one["failures"].items()
    ]


def _candidate_cells(one: Row) -> list[str]:
    return [one["where"], one["kind"], one["group"], f"{one['num_params']:,}", spell(one["gain_bpb"])]


def _table(title: str, heads: Sequence[str], rows: Sequence[Row], cells: Any) -> Table:
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(Text(head))
    for row in rows:
        table.add_row(*(Text(cell) for cell in cells(row)))
    return table


def _spell(found: Mapping[str, Any] | None, form: str) -> str:
    if found is None:
        return "-"
    estimate = format(found["estimate"], form)
    if found["low"] is None:
        return estimate
    return f"{estimate} [{format(found['low'], form)}, {format(found['high'], form)}]"
