"""Which graft changed which suite, as signed bars: a panel for each suite, a row for each graft."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil
from typing import Any, NamedTuple

from saint.report._spelling import spell
from saint.report._svg import Axis, svg_of
from saint.report._written import Picture

_WIDTH, _LEFT, _RIGHT, _GAP = 760, 190, 16, 26
_COLUMNS = 3
_TITLE, _ROW, _TICKS, _FOOT = 24, 22, 30, 22
_BAR = 12
_LEGEND = (("better", "saves bits"), ("worse", "costs bits"), ("even", "may be nothing"))


class _Panel(NamedTuple):
    """Where the bars of one suite are."""

    axis: Axis
    top: float
    bottom: float


def blame_picture(record: Mapping[str, Any]) -> Picture:
    """The Shapley values of all grafts on all suites, over one range, with their intervals."""
    suites, num_grafts = record["suites"], len(record["grafts"])
    columns = max(1, min(_COLUMNS, len(suites)))
    width = (_WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP) / columns
    height = _TITLE + _ROW * num_grafts + _TICKS
    bounds = [share["shapley"][bound] for found in suites.values() for share in found["shares"] for bound in _BOUNDS]
    parts: list[str] = []
    for place, (suite, found) in enumerate(suites.items()):
        left, top = _LEFT + place % columns * (width + _GAP), place // columns * height + _TITLE
        panel = _Panel(Axis([0.0, *bounds], left, left + width), top, top + _ROW * num_grafts)
        parts.append(f'<text class="label" x="{left:.1f}" y="{top - 8}">{escape(suite)}</text>')
        parts += [*_frame(panel), *_bars(panel, suite, found["shares"])]
        if place % columns == 0:
            parts += _names(record["grafts"], top)
    rows = ceil(len(suites) / columns)
    said = "bits per byte that each graft saves (Shapley value)"
    middle, foot = (_LEFT + _WIDTH - _RIGHT) / 2, rows * height + _FOOT
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{foot - 8}" text-anchor="middle">{said}</text>')
    return Picture(svg_of(_WIDTH, foot, parts), list(_LEGEND))


_BOUNDS = ("low", "high")


def _names(grafts: Sequence[Mapping[str, Any]], top: float) -> Iterable[str]:
    for row, graft in enumerate(grafts):
        y = top + _ROW * (row + 0.5) + 4
        name = escape(f"{row + 1}. {graft['kind']} {graft['digest'][:8]}")
        where = f"<title>{escape(graft['where'])}</title>"
        yield f'<text class="label" x="{_LEFT - 10}" y="{y:.1f}" text-anchor="end">{name}{where}</text>'


def _frame(panel: _Panel) -> Iterable[str]:
    """Lines down for the ticks, with numbers at both ends and at nothing."""
    axis = panel.axis
    numbered = {min(axis.ticks), max(axis.ticks), min(axis.ticks, key=abs)}
    for tick in axis.ticks:
        x, css = axis.at(tick), "zero" if tick == min(axis.ticks, key=abs) else "grid"
        yield f'<line class="{css}" x1="{x:.1f}" x2="{x:.1f}" y1="{panel.top}" y2="{panel.bottom}"/>'
        if tick in numbered:
            y = panel.bottom + 15
            yield f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{tick:.3g}</text>'


def _bars(panel: _Panel, suite: str, shares: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for row, share in enumerate(shares):
        value = share["shapley"]
        css = "better" if value["low"] > 0 else "worse" if value["high"] < 0 else "even"
        y = panel.top + _ROW * (row + 0.5)
        zero, end = panel.axis.at(0.0), panel.axis.at(value["estimate"])
        low, high = panel.axis.at(value["low"]), panel.axis.at(value["high"])
        said = escape(f"{row + 1}. {share['graft'][:12]} on {suite}: {spell(value)}")
        yield (
            f'<rect class="dot {css}" style="fill-opacity:.35" x="{min(zero, end):.1f}" y="{y - _BAR / 2:.1f}" '
            f'width="{abs(end - zero):.1f}" height="{_BAR}"><title>{said}</title></rect>'
        )
        yield f'<line class="whisker {css}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
