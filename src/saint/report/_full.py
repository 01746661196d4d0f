"""Full models against grafted ones, in words and tables that a terminal and Markdown share."""

from collections.abc import Mapping, Sequence
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
    write_page,
)

Row = Mapping[str, Any]

_SENSES: Mapping[str, Literal["at_least", "at_most"]] = {
    "gain_nats": "at_least",
    "held_out_tokens": "at_least",
    "graft_seconds": "at_most",
    "seconds": "at_most",
}
_COLORS = {"ours": "c0", "control": "c1", "full": "c2", "calibration": "c3"}


def full_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """The study for a terminal: what each way comes to, then what it costs."""
    return page_parts(_page(record))


def full_markdown(record: Mapping[str, Any]) -> str:
    """The study as Markdown, complete enough to be kept as a result."""
    return page_markdown(record, _page(record))


def write_full(record: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, table.md and a picture, each whole or not at all; results.json last."""
    rows = [
        forest_row(" ".join(_who(row)), gain, _COLORS[row["sort"]])
        for row in record["rows"]
        if (gain := row.get("gain_nats"))
    ]
    picture = forest_of(rows, x_label="nats per token saved", colors=_COLORS)
    write_page(record, folder, full_markdown(record), {"gains.svg": picture})


def full_figures(record: Mapping[str, Any]) -> list[Figure]:
    """The figures that the plan has targets for and that could be measured."""
    return [
        Figure(name=name, value=value, target=target, sense=_SENSES[name])
        for name, value, target in _wanted(record)
        if value is not None
    ]


def full_unmeasured(record: Mapping[str, Any]) -> list[str]:
    """A line for each figure that has a target and could not be measured."""
    why = "no arm of ours on the first backbone was trained to the end"
    return [f"{name} was not measured: {why}" for name, value, _ in _wanted(record) if value is None]


def _wanted(record: Mapping[str, Any]) -> list[tuple[str, float | None, float]]:
    """Name, value and target of each figure that has one."""
    targets, found = record["plan"].get("targets") or {}, record["figures"]
    values = {
        "gain_nats": found and found["gain"]["low"],
        "held_out_tokens": record["held_out_tokens"],
        "graft_seconds": found and found["graft_seconds"],
        "seconds": sum(one["wall_s"] for one in record["sessions"]),
    }
    return [(name, values[name], targets[name]) for name in _SENSES if targets.get(name) is not None]


def full_figure_lines(record: Mapping[str, Any]) -> list[str]:
    """Each figure, whose it is, and what could not be measured."""
    lines = [str(figure) for figure in full_figures(record)]
    if lines and (found := record["figures"]):
        lines.append(f"  {found['arm']}, {spell(found['gain'])} nats per token")
    return [*lines, *full_unmeasured(record)]


def _who(row: Row) -> list[str]:
    equal = f", equal {row['equal']}" if row["equal"] else ""
    return [row["backbone"] or "calibration", f"{row['name']}{equal}"]


def _loss_cells(row: Row) -> list[str]:
    if row["status"] != "measured":
        return [*_who(row), row["status"], *["-"] * 5]
    return [
        *_who(row),
        f"{row['loss']:.4f}",
        f"{row['perplexity']:.2f}",
        f"{row['bpb']:.4f}",
        _spell(row["gain_nats"]),
        _spell(row["difference_nats"]),
        "-" if row["recomposition"] is None else f"{row['recomposition']:.1e}",
    ]


def _cost_cells(row: Row) -> list[str]:
    if row["status"] != "measured":
        return [*_who(row), row["status"], *["-"] * 6]
    return [
        *_who(row),
        f"{row['num_params']:,}",
        f"{row['total_params']:,}",
        f"{row['num_bytes']:,}",
        f"{row['train_tokens']:,} / {row['all_tokens']:,}",
        _number(row["tokens_per_s"], ",.0f"),
        f"{row['memory_bytes'] / 2**20:,.1f}",
        f"{row['seconds'] / 3600:.4f} / {row['all_seconds'] / 3600:.4f}",
    ]


def _value_cells(row: Row) -> list[str]:
    per = row.get("gain_per") or dict.fromkeys(("million_parameters", "megabyte", "hour"))
    rate = f"{row['lr']:g}" if row["lr"] is not None else "of the kind" if row["seeds"] else "-"
    return [*_who(row), *(_number(per[name], ".4f") for name in ("million_parameters", "megabyte", "hour")), rate]


_TABLES: Sequence[tuple[str, list[str], Any]] = (
    (
        "Losses",
        ["backbone", "way", "loss", "perplexity", "bits per byte", "gain", "beyond the grafted", "recomposition"],
        _loss_cells,
    ),
    (
        "Costs",
        ["backbone", "way", "trained", "parameters", "bytes", "tokens / all", "tokens/s", "MiB", "hours / all"],
        _cost_cells,
    ),
    ("Gain for what it costs", ["backbone", "way", "per million", "per MB", "per hour", "learning rate"], _value_cells),
)


def _page(record: Mapping[str, Any]) -> StudyPage:
    return StudyPage(
        heading=_heading(record),
        sheets=[Sheet(title, heads, list(map(cells, record["rows"]))) for title, heads, cells in _TABLES],
        reading=_reading(record),
        figures=full_figure_lines(record),
    )


def _heading(record: Mapping[str, Any]) -> list[str]:
    plan = record["plan"]
    held_out = record["data"][f"{record['grown_domain']}/held_out"]
    return [
        (
            f"{record['name']}: {len(plan['backbones'])} backbones, {len(plan['arms'])} arms, {len(plan['seeds'])} "
            f"seeds, on {record['held_out_tokens']:,} held-out tokens of {held_out['num_documents']:,} documents"
        )
    ]


def _reading(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    lines = [
        (
            "loss: nats per held-out token; gain: nats per token saved against the base of the same seed; beyond the "
            f"grafted: saved against {record['plan']['equal_to']!r}; brackets are 95 % intervals, for other documents "
            "and seeds"
        ),
        (
            "equal tokens, time, memory: as many tokens as base and that arm together, as many seconds as they took, "
            "and the largest model whose training fits into the arm's memory"
        ),
        (
            "all: with the base that it stands on; hours: of one core that has nothing else to do; per million "
            "parameters, MB and hour: gain over what the arm itself trained, stores and took"
        ),
        "MiB: weights, gradients, moments and what is kept for the backward pass, counted in one pass",
        (
            "recomposition: largest difference of a logit with the grafts folded into the weights, or, where they "
            "cannot be, with base and grafts read from their files again"
        ),
    ]
    lines += [_verdict(row) for row in record["rows"] if row["sort"] == "full" and row.get("difference_nats")]
    lines += [
        f"the base of {row['backbone']} gained {row['plateau_bpb']:.4f} bits per byte on select in its last fifth"
        for row in record["rows"]
        if row.get("plateau_bpb") is not None
    ]
    lines += [
        f"{' '.join(_who(row))}, seed {seed['seed']}, failed: {seed['failure']}"
        for row in record["rows"]
        for seed in row["seeds"]
        if "failure" in seed
    ]
    return lines


def _verdict(row: Row) -> str:
    """Whether growing paid against a larger model from nothing."""
    found = row["difference_nats"]
    if found["low"] > 0:
        outcome = "the larger model predicts better than the grafted base"
    elif found["high"] < 0:
        outcome = "the grafted base predicts better than the larger model"
    else:
        outcome = "the larger model and the grafted base cannot be told apart"
    return (
        f"{row['backbone']}, equal {row['equal']} ({row['name']}): {outcome}, {spell(found)} nats per token saved by it"
    )


def _spell(interval: Mapping[str, Any] | None) -> str:
    return "-" if interval is None else spell(interval)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
