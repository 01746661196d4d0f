"""Composed experts, in words and tables that a terminal and Markdown share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import RenderableType

from saint.report._figure import Figure
from saint.report._spelling import spell
from saint.report._study_page import (
    Sheet,
    StudyPage,
    forest_of,
    forest_row,
    page_markdown,
    page_parts,
    wall_clock,
    write_page,
)

Row = Mapping[str, Any]

_END: Mapping[str, tuple[Literal["at_least", "at_most"], str]] = {
    "posterior_saves_on_mix": ("at_least", "low"),
    "logit_mean_saves_on_mix": ("at_least", "low"),
    "posterior_loses_at_home": ("at_most", "high"),
    "saves_with_own_embeddings": ("at_least", "low"),
    "domains_beat_chance": ("at_least", "low"),
    "average_loses_on_mix": ("at_least", "low"),
    "joint_beats_posterior": ("at_least", "low"),
}
"""Which end of its interval is the harder one to reach."""
_COLORS = {"part": "c0", "mixture": "c1", "average": "c2", "joint": "c3"}
_MIX = "mix"


def experts_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """The study for a terminal: losses, what is saved, and what it costs."""
    return page_parts(_page(record))


def experts_markdown(record: Mapping[str, Any]) -> str:
    """The study as Markdown, complete enough to be kept as a result."""
    return page_markdown(record, _page(record))


def write_experts(record: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, table.md and a picture, each whole or not at all; results.json last."""
    rows = [forest_row(_who(row), row["saved"][_MIX], _COLORS[row["sort"]]) for row in record["rows"] if _has(row)]
    picture = forest_of(rows, x_label="nats per byte saved on the mix against the better part", colors=_COLORS)
    write_page(record, folder, experts_markdown(record), {"mix.svg": picture})


def experts_figures(record: Mapping[str, Any]) -> list[Figure]:
    """The figures that the plan has targets for and that could be measured."""
    found = [
        Figure(name=name, value=interval[_END[name][1]], target=target, sense=_END[name][0])
        for name, interval, target in _wanted(record)
        if interval is not None
    ]
    targets = record["plan"].get("targets") or {}
    return [*found, *wall_clock(record, targets.get("seconds"))]


def experts_unmeasured(record: Mapping[str, Any]) -> list[str]:
    """A line for each figure that has a target and could not be measured."""
    why = "the plan has no such group or way, or one of its models diverged"
    return [f"{name} was not measured: {why}" for name, interval, _ in _wanted(record) if interval is None]


def experts_figure_lines(record: Mapping[str, Any]) -> list[str]:
    """Each figure with its interval and what it is of, and what could not be measured."""
    lines = []
    for figure in experts_figures(record):
        lines.append(str(figure))
        if found := record["figures"].get(figure.name):
            lines.append(f"  {found['of']}, {spell(found)} nats per byte")
    return [*lines, *experts_unmeasured(record)]


def _wanted(record: Mapping[str, Any]) -> list[tuple[str, Row | None, float]]:
    targets = record["plan"].get("targets") or {}
    return [(name, record["figures"][name], targets[name]) for name in _END if targets.get(name) is not None]


def _page(record: Mapping[str, Any]) -> StudyPage:
    texts = [*record["domains"], _MIX, *record["unseen"]]
    heads = ["experts", "model", *(f"{text} (unseen)" if text in record["unseen"] else text for text in texts)]
    rows = record["rows"]
    saved = [_cells(row, [_saved(row, text) for text in texts]) for row in rows]
    return StudyPage(
        heading=_heading(record),
        sheets=[
            Sheet("Losses", heads, [_cells(row, [_loss(row, text) for text in texts]) for row in rows]),
            Sheet("Saved against the better part", heads, saved),
            Sheet("Costs", ["experts", "model", *_COSTS], [_cells(row, _costs(row)) for row in rows]),
        ],
        reading=_reading(record),
        figures=experts_figure_lines(record),
    )


_COSTS = ["trained on", "held", "apart", "active", "flops/token", "cache bytes/token", "and per text"]
_COUNTED = (
    "held_params",
    "apart_params",
    "active_params",
    "flops_per_token",
    "cache_bytes_per_token",
    "cache_bytes_per_text",
)


def _who(row: Row) -> str:
    return f"{row['group']}: {row['name']}"


def _cells(row: Row, cells: list[str]) -> list[str]:
    return [row["group"], row["name"], *cells]


def _loss(row: Row, text: str) -> str:
    return f"{row['loss'][text]:.4f}" if row["status"] == "measured" else row["status"]


def _saved(row: Row, text: str) -> str:
    found = (row.get("saved") or {}).get(text)
    return "-" if found is None else spell(found)


def _costs(row: Row) -> list[str]:
    if row["status"] != "measured":
        return ["-"] * len(_COSTS)
    cost = row["cost"]
    return [f"{row['train_tokens']:,}", *(f"{cost[name]:,}" if name in cost else "-" for name in _COUNTED)]


def _heading(record: Mapping[str, Any]) -> list[str]:
    plan, sizes = record["plan"], record["judged_bytes"]
    schedule = plan["schedule"]
    tokens = schedule["num_steps"] * schedule["batch_size"] * schedule["seq_len"]
    judged = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    return [
        (
            f"{record['name']}: experts on {' and '.join(record['domains'])}, {len(plan['groups'])} groups, "
            f"{len(plan['seeds'])} seeds, {tokens:,} tokens for each expert; bytes measured on: {judged}"
        )
    ]


def _reading(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    lines = [
        "losses: nats per byte, the mean over seeds; mix: the text of all experts, each domain counting the same",
        (
            "saved: against the expert of the same group that is best on the same text; brackets are 95 % intervals, "
            "for other documents and seeds"
        ),
        (
            "held: numbers in memory, what experts have alike once; apart: with every expert in a file of its own; "
            "active: what a token is multiplied with"
        ),
        "trained on: tokens of a part or joint model, and of a gate beyond those of its experts",
    ]
    lines += [_verdict(record, row) for row in record["rows"] if row["sort"] in ("mixture", "average") and _has(row)]
    lines += [
        f"{_who(row)}, seed {seed}, failed: {why}" for row in record["rows"] for seed, why in row["failures"].items()
    ]
    return lines


def _has(row: Row) -> bool:
    return (row.get("saved") or {}).get(_MIX) is not None


def _verdict(record: Mapping[str, Any], row: Row) -> str:
    """Whether a composition is better than each part, on the mix and at home."""
    said = []
    for text in (_MIX, *record["domains"], *record["unseen"]):
        found = row["saved"][text]
        better = "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "not told apart"
        said.append(f"{better} on {text}")
    return f"{_who(row)} against the better part: {', '.join(said)}"
