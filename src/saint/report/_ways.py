"""Models from nothing side by side, in words and tables that a terminal and Markdown share."""

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

_HEADS = [
    "way",
    "nats per byte",
    "each seed",
    "after each stage",
    "active",
    "parameters",
    "tokens",
    "TFLOP",
    "hours",
    "learning rate",
]
_CLAIM_HEADS = ["claim", "says", "better", "than", "nats per byte saved", "holds"]


def ways_parts(record: Row) -> list[RenderableType]:
    """The study for a terminal: what each way comes to, then what of the claims holds."""
    return page_parts(_page(record))


def ways_markdown(record: Row) -> str:
    """The study as Markdown, complete enough to be kept as a result."""
    return page_markdown(record, _page(record))


def write_ways(record: Row, folder: Path) -> None:
    """Write results.json, table.md and a picture of the claims, each whole or not at all; results.json last."""
    rows = [
        forest_row(f"{one['better']} against {one['than']}", one["saved"], "c0")
        for one in record["claims"]
        if one["saved"]
    ]
    picture = forest_of(rows, x_label="nats per byte saved")
    write_page(record, folder, ways_markdown(record), {"claims.svg": picture})


def _page(record: Row) -> StudyPage:
    return StudyPage(
        heading=[_heading(record)],
        sheets=[
            Sheet("Losses", _HEADS, [_cells(row) for row in record["rows"]]),
            Sheet("Claims", _CLAIM_HEADS, [_claim_cells(row) for row in record["claims"]]),
        ],
        reading=_reading(record),
        figures=claim_lines(record),
    )


def _cells(row: Row) -> list[str]:
    if row["failure"]:
        return [row["name"], "did not learn", *["-"] * 7, f"{row['lr']:g}"]
    return [
        row["name"],
        f"{row['loss']:.4f}",
        ", ".join(f"{one['loss']:.3f}" for one in row["seeds"]),
        ", ".join(f"{loss:.3f}" for loss in row["stages"]) or "-",
        f"{row['active_params']:,}",
        f"{row['total_params']:,}",
        f"{row['train_tokens']:,}",
        f"{row['flops'] / 1e12:.2f}",
        f"{row['seconds'] / 3600:.4f}",
        f"{row['lr']:g}",
    ]


def _claim_cells(row: Row) -> list[str]:
    saved = "-" if row["saved"] is None else spell(row["saved"])
    return [row["name"], _spelled(row), row["better"], row["than"], saved, row["holds"]]


def _spelled(row: Row) -> str:
    if row["by"] is not None:
        return f"better by {row['by']:g} nats per byte" if row["by"] else "better"
    if row["worse_by"] is not None:
        return f"worse by at most {row['worse_by']:.0%}"
    return f"alike within {row['alike']:.0%}"


def _heading(record: Row) -> str:
    plan = record["plan"]
    held_out = record["data"][f"{record['grown_domain']}/held_out"]
    return (
        f"{record['name']}: {len(plan['ways'])} ways, {len(plan['seeds'])} seeds, on {record['held_out_bytes']:,} "
        f"held-out bytes of {held_out['num_documents']:,} documents"
    )


def _reading(record: Row) -> list[str]:
    """How the numbers are to be read."""
    lines = [
        (
            "nats per byte: of the held-out text, the mean over seeds; brackets are 95 % intervals, for other "
            "documents and seeds"
        ),
        (
            "active: parameters that learn, the most at one time; parameters: all, a frozen table of token codes not "
            "counted; hours: of one core that has nothing else to do"
        ),
        (
            "a claim holds if the whole interval says so, and is open if only a part of it does; its figure is the end "
            "of the interval that is the harder one to reach, as a share of the loss where the claim is one"
        ),
    ]
    return [*lines, *(f"{row['name']} failed: {row['failure']}" for row in record["rows"] if row["failure"])]
