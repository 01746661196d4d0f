"""Modules moved from one backbone to others, in words and tables that a terminal and Markdown share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from saint.report._spelling import spell
from saint.report._study_page import (
    Sheet,
    StudyPage,
    claim_lines,
    forest_of,
    forest_row,
    page_markdown,
    page_parts,
    write_page,
)

Row = Mapping[str, Any]

_HEADS = ["backbone", "module", "arm", "nats per byte", "each seed", "gain", "short of own", "parameters", "tokens"]
_BACKBONE_HEADS = ["backbone", "text", "shares with the first", "interface", "nats per byte alone"]
_CLAIM_HEADS = ["claim", "says", "better", "than", "nats per byte more", "holds"]
_COLORS = {"own": "c0", "moved": "c1", "retrained": "c2", "shuffled": "c3", "as short": "c4"}


def docking_parts(record: Row) -> list[RenderableType]:
    """The study for a terminal: the backbones, what modules gain on each, then what of the claims holds."""
    return page_parts(_page(record))


def docking_markdown(record: Row) -> str:
    """The study as Markdown, complete enough to be kept as a result."""
    return page_markdown(record, _page(record))


def write_docking(record: Row, folder: Path) -> None:
    """Write results.json, table.md and a picture of the gains, each whole or not at all; results.json last."""
    gains = [
        forest_row(row["name"], row["gain"], _COLORS[row["arm"]])
        for row in record["rows"]
        if row.get("gain") and row["arm"] in ("own", "moved", "retrained")
    ]
    picture = forest_of(gains, x_label="nats per byte saved against the backbone alone", colors=_COLORS)
    write_page(record, folder, docking_markdown(record), {"gains.svg": picture})


def _page(record: Row) -> StudyPage:
    alone = {row["backbone"]: row for row in record["rows"] if not row["module"]}
    backbones = [_backbone_cells(record, one, alone[one["name"]]) for one in record["plan"]["backbones"]]
    return StudyPage(
        heading=[_heading(record)],
        sheets=[
            Sheet("Backbones", _BACKBONE_HEADS, backbones),
            Sheet("Modules", _HEADS, [_cells(row) for row in record["rows"] if row["module"]]),
            Sheet("Claims", _CLAIM_HEADS, [_claim_cells(row) for row in record["claims"]]),
        ],
        reading=_reading(record),
        figures=claim_lines(record),
    )


def _backbone_cells(record: Row, backbone: Row, alone: Row) -> list[str]:
    shared = [f"{backbone['stem']} blocks"] * bool(backbone["stem"]) + ["head"] * backbone["head"]
    digest = record["interfaces"][backbone["name"]]
    return [
        backbone["name"],
        backbone["domain"] or record["plan"]["base"]["domain"],
        ", ".join(shared) or "-",
        digest[:12] if digest else "none",
        "did not learn" if alone["failure"] else f"{alone['loss']:.4f}",
    ]


def _cells(row: Row) -> list[str]:
    who = [row["backbone"], row["module"], row["arm"]]
    if row["failure"]:
        return [*who, "did not learn", *["-"] * 5]
    return [
        *who,
        f"{row['loss']:.4f}",
        ", ".join(f"{one['loss']:.3f}" for one in row["seeds"]),
        spell(row["gain"]),
        "-" if row["short_of_own"] is None else spell(row["short_of_own"]),
        "-" if row["num_params"] is None else f"{row['num_params']:,}",
        f"{row['train_tokens']:,}",
    ]


def _claim_cells(row: Row) -> list[str]:
    share = "" if row["share"] == 1 else f"{row['share']:.0%} of its gain"
    more = f"{row['by']:+g} nats per byte" if row["by"] else ""
    says = " and ".join(filter(None, (share, more))) or "as much gain"
    return [
        row["name"],
        f"at least {says}",
        row["better"],
        row["than"],
        "-" if row["saved"] is None else spell(row["saved"]),
        row["holds"],
    ]


def _heading(record: Row) -> str:
    plan = record["plan"]
    held_out = record["data"][f"{record['grown_domain']}/held_out"]
    return (
        f"{record['name']}: {len(plan['modules'])} modules from {plan['backbones'][0]['name']} to "
        f"{len(plan['backbones']) - 1} other backbones, {len(plan['seeds'])} seeds, on {record['held_out_bytes']:,} "
        f"held-out bytes of {held_out['num_documents']:,} documents of {record['grown_domain']}"
    )


def _reading(record: Row) -> list[str]:
    """How the numbers are to be read, and what they come to."""
    plan = record["plan"]
    lines = [
        (
            "own: learnt on that backbone; moved: learnt on the first one and put here as it is; shuffled: the same "
            "numbers in another order; retrained: moved, then learnt here for "
            f"{plan['retraining']:.0%} of the steps; as short: learnt here for as few, from nothing"
        ),
        (
            "gain: nats per byte of held-out text saved against the same backbone alone; short of own: what its own "
            "module saves beyond it; brackets are 95 % intervals, for other documents and seeds"
        ),
        (
            "a claim is about gains, each over its own backbone; it holds if the whole interval says so, and is open "
            "if only a part of it does; its figure is the lower end of the interval"
        ),
    ]
    lines += [_verdict(row) for row in record["rows"] if row.get("gain") and row["arm"] == "moved"]
    return [*lines, *(f"{row['name']} failed: {row['failure']}" for row in record["rows"] if row["failure"])]


def _verdict(row: Row) -> str:
    """Whether a module that was moved is of any use."""
    gain = row["gain"]
    if gain["low"] > 0:
        outcome = "predicts better than the backbone alone"
    elif gain["high"] < 0:
        outcome = "predicts worse than the backbone alone: it does not dock"
    else:
        outcome = "cannot be told from the backbone alone: it does not dock"
    return f"{row['module']} moved to {row['backbone']} {outcome}, {spell(gain)}"
