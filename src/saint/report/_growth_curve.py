"""What growth came to, over what it took: parameters, tokens, operations and seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from saint.report._spelling import spell
from saint.report._svg import Point, line

_AXES = {
    "num_params": "trained parameters that stand",
    "train_tokens": "tokens that all trials learnt from",
    "train_flops": "training FLOPs of all trials",
    "train_seconds": "seconds of training of all trials",
}


def curve_rows(points: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The curve as text: a heading, then a line for each point; empty where nothing was measured."""
    if not points:
        return []
    domains = list(dict.fromkeys(domain for point in points for domain in point["retain_bpb"]))
    columns = ["after", "parameters", "tokens", "training FLOPs", "seconds", "development bits/byte", "saved"]
    return [[*columns, *(f"{domain} bits/byte" for domain in domains)], *(_row(point, domains) for point in points)]


def curve_table(points: Sequence[Mapping[str, Any]]) -> Table:
    """The growth curve for a terminal."""
    heading, *rows = curve_rows(points) or [[]]
    table = Table(title="Growth curve: the stack on development text, and what all trials took", title_justify="left")
    for column in heading:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def curve_pictures(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """A picture for each axis, as SVG: bits per byte of development text, with its interval against the bare base."""
    return [
        line(
            [_point(point, float(point[axis])) for point in points],
            x_label=label,
            y_label="bits per byte of development text",
        )
        for axis, label in _AXES.items()
        if points
    ]


def _point(point: Mapping[str, Any], x: float) -> Point:
    y, gain = point["grown_bpb"], point["gain_bpb"]
    if gain is None:
        return Point(x, y, f"{_after(point)}: {y:.4f}")
    base = y + gain["estimate"]
    return Point(x, y, f"{_after(point)}: {y:.4f}, saved {spell(gain)}", base - gain["high"], base - gain["low"])


def _row(point: Mapping[str, Any], domains: Sequence[str]) -> list[str]:
    retained = (point["retain_bpb"].get(domain) for domain in domains)
    return [
        _after(point),
        f"{point['num_params']:,}",
        f"{point['train_tokens']:,}",
        f"{point['train_flops']:.3g}",
        f"{point['train_seconds']:.1f}",
        f"{point['grown_bpb']:.4f}",
        "" if point["gain_bpb"] is None else spell(point["gain_bpb"]),
        *("not measured" if bpb is None else f"{bpb:.4f}" for bpb in retained),
    ]


def _after(point: Mapping[str, Any]) -> str:
    return "the bare base" if point["round"] is None else f"round {point['round'] + 1}"
