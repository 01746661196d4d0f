"""Pictures for the report, as SVG that takes its colours from the page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any, NamedTuple, final

_WIDTH = 680
_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 64, 16, 12, 42
_NUM_TICKS = 5
_ROUNDING = 1e-9  # of a value: what differs by less is one value
_NUM_COLORS = 6


class Point(NamedTuple):
    """A place in a chart with what a reader sees on hovering."""

    x: float
    y: float
    label: str
    y_low: float | None = None
    y_high: float | None = None


class Series(NamedTuple):
    """Points that belong together."""

    name: str
    points: Sequence[Point]
    joined: bool = True
    css: str = ""
    """CSS classes; c0, c1, ... in turn unless given."""


def chart(
    series: Sequence[Series], *, x_label: str, y_label: str, height: int = 300, log_x: bool = False, apart: float = 0.0
) -> str:
    """Lines or dots with whiskers over two axes; each series has a colour class.

    Args:
        log_x: Whether the horizontal axis is logarithmic; its values are then positive.
        apart: Pixels that neighbouring series are set apart sideways, where their points would hide each other.
    """
    points = [point for one in series for point in one.points]
    room = apart * len(series) / 2
    place_x = _LogAxis if log_x else Axis
    values = [point.x for point in points]
    xs = place_x(values if log_x else [0.0, *values], _MARGIN_LEFT + room, _WIDTH - _MARGIN_RIGHT - room)
    ys = Axis(
        [0.0, *(bound for p in points for bound in (p.y, p.y_low, p.y_high) if bound is not None)],
        height - _MARGIN_BOTTOM,
        _MARGIN_TOP,
    )
    parts = [*_axes(xs, ys, height, x_label, y_label)]
    for index, one in enumerate(series):
        shift = apart * (index - (len(series) - 1) / 2)
        parts += _drawn(one, one.css or f"c{index % _NUM_COLORS}", xs, ys, shift)
    return f'<div class="legend">{_legend(series)}</div>{svg_of(_WIDTH, height, parts)}'


def line(points: Sequence[Point], *, x_label: str, y_label: str) -> str:
    """One of several small pictures: a line, its vertical axis no longer than its values need."""
    width, height = 400, 230
    xs = Axis([0.0, *(point.x for point in points)], _MARGIN_LEFT, width - 2 * _MARGIN_RIGHT)
    ys = Axis(
        [bound for p in points for bound in (p.y, p.y_low, p.y_high) if bound is not None],
        height - _MARGIN_BOTTOM,
        _MARGIN_TOP,
    )
    drawn = _drawn(Series("", points), "c0", xs, ys, 0.0)
    return svg_of(width, height, [*_axes(xs, ys, height, x_label, y_label, width), *drawn])


def _drawn(one: Series, color: str, xs: "Axis | _LogAxis", ys: "Axis", shift: float) -> Iterable[str]:
    """The line, whiskers and dots of a series, `shift` pixels to the right of their places."""
    if one.joined and len(one.points) > 1:
        path = " ".join(f"{xs.at(p.x) + shift:.1f},{ys.at(p.y):.1f}" for p in one.points)
        yield f'<polyline class="line {color}" points="{path}"/>'
    for point in one.points:
        x, y = xs.at(point.x) + shift, ys.at(point.y)
        if point.y_low is not None and point.y_high is not None:
            low, high = ys.at(point.y_low), ys.at(point.y_high)
            yield f'<line class="whisker {color}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        label = escape(f"{one.name}: {point.label}" if one.name else point.label)
        yield _mark(color, x, y, label)


def _mark(css: str, x: float, y: float, label: str = "") -> str:
    """A dot, or a square for a series of the second ten.

    Args:
        label: Escaped already.
    """
    title = f"<title>{label}</title>" if label else ""
    if "second" in css.split():
        return f'<rect class="dot {css}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{title}</rect>'
    return f'<circle class="dot {css}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>'


def _legend(series: Sequence[Series]) -> str:
    return "".join(
        f'<span class="key"><i class="swatch {one.css or f"c{i % _NUM_COLORS}"}"></i>{escape(one.name)}</span>'
        for i, one in enumerate(series)
    )


class Panel(NamedTuple):
    """One of several small pictures that share their axes."""

    title: str
    dots: Sequence[tuple[Point, str]]
    """Each with its CSS classes."""


_PANEL_COLUMNS, _PANEL_HEIGHT, _PANEL_GAP, _PANEL_TITLE = 3, 150, 14, 20


def panels(shown: Sequence[Panel], *, x_label: str, y_label: str) -> str:
    """Small pictures of dots beside and below each other, all over the same two ranges."""
    points = [point for panel in shown for point, _ in panel.dots]
    width = (_WIDTH - _MARGIN_LEFT - _MARGIN_RIGHT - (_PANEL_COLUMNS - 1) * _PANEL_GAP) / _PANEL_COLUMNS
    num_rows = ceil(len(shown) / _PANEL_COLUMNS)
    height = num_rows * (_PANEL_HEIGHT + _PANEL_TITLE) + _MARGIN_BOTTOM
    parts = []
    for number, panel in enumerate(shown):
        left = _MARGIN_LEFT + number % _PANEL_COLUMNS * (width + _PANEL_GAP)
        top = number // _PANEL_COLUMNS * (_PANEL_HEIGHT + _PANEL_TITLE) + _PANEL_TITLE
        xs = Axis([0.0, *(point.x for point in points)], left, left + width)
        ys = Axis([0.0, *(point.y for point in points)], top + _PANEL_HEIGHT - 8, top + 4)
        parts.append(f'<text class="label" x="{left:.1f}" y="{top - 5}">{escape(panel.title)}</text>')
        parts += _panel_grid(xs, ys, left, width, numbered=number % _PANEL_COLUMNS == 0)
        parts += [_mark(css, xs.at(point.x), ys.at(point.y), escape(point.label)) for point, css in panel.dots]
    middle = _MARGIN_LEFT + (_WIDTH - _MARGIN_LEFT - _MARGIN_RIGHT) / 2
    turned = f'transform="translate(14,{(height - _MARGIN_BOTTOM) / 2:.1f}) rotate(-90)"'
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{height - 16}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="axis" {turned} text-anchor="middle">{escape(y_label)}</text>')
    return svg_of(_WIDTH, height, parts)


def _panel_grid(xs: "Axis", ys: "Axis", left: float, width: float, *, numbered: bool) -> Iterable[str]:
    """Lines across for the vertical ticks, with their numbers in the first column, and the line of the first tick."""
    for tick in ys.ticks:
        y = ys.at(tick)
        yield f'<line class="grid" x1="{left:.1f}" x2="{left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        if numbered:
            yield f'<text class="tick" x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{_tick(tick)}</text>'
    x, bottom, top = xs.at(xs.low), ys.at(ys.low), ys.at(ys.high)
    yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


class Row(NamedTuple):
    """One interval of a forest plot."""

    label: str
    estimate: float
    low: float
    high: float
    color: str
    """A CSS class."""


def forest(rows: Sequence[Row], *, x_label: str, limits: Iterable[tuple[float, str]] = ()) -> str:
    """Intervals below each other, with the lines that they are held against."""
    limits = list(limits)
    left, row_height = 250, 24
    height = _MARGIN_TOP + row_height * len(rows) + _MARGIN_BOTTOM
    values = [0.0, *(bound for row in rows for bound in (row.low, row.high)), *(limit for limit, _ in limits)]
    xs = Axis(values, left, _WIDTH - _MARGIN_RIGHT)
    bottom = height - _MARGIN_BOTTOM
    parts = [*_x_axis(xs, bottom, x_label)]
    for limit, label in [(0.0, "no change"), *limits]:
        x = xs.at(limit)
        name = "zero" if limit == 0 else "limit"
        parts.append(
            f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{_MARGIN_TOP}" y2="{bottom}">'
            f"<title>{escape(label)}</title></line>"
        )
    for index, row in enumerate(rows):
        y = _MARGIN_TOP + row_height * (index + 0.5)
        x, low, high = xs.at(row.estimate), xs.at(row.low), xs.at(row.high)
        numbers = f"{row.estimate:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
        parts.append(
            f'<text class="label" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>'
        )
        parts.append(f'<line class="whisker {row.color}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<circle class="dot {row.color}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{escape(numbers)}</title></circle>"
        )
    return svg_of(_WIDTH, height, parts)


def places(sites: Sequence[Mapping[str, Any]], scores: Mapping[str, float], grafts: Sequence[Mapping[str, Any]]) -> str:
    """The model as a grid, one row per block and one column per role, shaded by sensitivity; grafts are numbered dots.

    Args:
        scores: Site key -> sensitivity; shading compares sites of one role, as scores do.
        grafts: In the order of their numbers.
    """
    shown = [site for site in sites if site["sort"] != "insertion"]
    columns = list(dict.fromkeys((site["stream"], site["role"]) for site in shown if site["depth"] >= 0))
    outside = [site for site in shown if site["depth"] < 0]
    depths = sorted({(site["stream"], site["depth"]) for site in shown if site["depth"] >= 0})
    cell, left, top = (64, 26), 96, 28
    width = left + cell[0] * max(len(columns), 1) + 12
    height = top + cell[1] * (len(depths) + len(outside)) + 12
    by_place = {(site["stream"], site["depth"], site["role"]): site for site in shown if site["depth"] >= 0}
    top_of_role: dict[str, float] = {}
    for site in shown:
        top_of_role[site["role"]] = max(top_of_role.get(site["role"], 0.0), scores.get(_key(site), 0.0))
    parts = []
    for column, (_, role) in enumerate(columns):
        x = left + cell[0] * (column + 0.5)
        parts.append(f'<text class="label" x="{x:.1f}" y="{top - 10}" text-anchor="middle">{escape(role)}</text>')
    rows = [
        *((f"{stream} block {depth}", stream, depth) for stream, depth in depths),
        *((s["role"], s, None) for s in outside),
    ]
    for index, (label, stream, depth) in enumerate(rows):
        y = top + cell[1] * index
        text = label.removeprefix("decoder ")
        parts.append(f'<text class="label" x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(text)}</text>')
        if depth is None:
            parts += _cell(stream, left, y, (cell[0] * max(len(columns), 1), cell[1]), scores, top_of_role, grafts)
        else:
            for column, (of_stream, role) in enumerate(columns):
                if of_stream == stream and (place := by_place.get((stream, depth, role))):
                    parts += _cell(place, left + cell[0] * column, y, cell, scores, top_of_role, grafts)
    return svg_of(width, height, parts)


def _cell(
    site: Mapping[str, Any],
    x: float,
    y: float,
    size: tuple[float, float],
    scores: Mapping[str, float],
    top_of_role: Mapping[str, float],
    grafts: Sequence[Mapping[str, Any]],
) -> list[str]:
    score, top = scores.get(_key(site)), top_of_role.get(site["role"], 0.0)
    shade = 0.0 if not score or not top else score / top
    here = [(n, g) for n, g in enumerate(grafts, start=1) if any(_key(s) == _key(site) for s in g["sites"])]
    said = f"{site['module']} ({site['d_out']} x {site['d_in']})"
    said += f", sensitivity {score:.3g}" if score is not None else ""
    said += "".join(f"; {n}: {g['kind']}, {g['status']}" for n, g in here)
    width, height = size[0] - 3, size[1] - 3
    parts = [
        f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{width}" height="{height}" rx="3"/>',
        (
            f'<rect class="heat" style="opacity:{0.75 * shade:.2f}" x="{x:.1f}" y="{y:.1f}" width="{width}" '
            f'height="{height}" rx="3"><title>{escape(said)}</title></rect>'
        ),
    ]
    for place, (number, graft) in enumerate(here[:4]):
        cx, cy = x + 11 + 15 * place, y + height / 2
        state = "stands" if graft["status"] == "stands" else "refused"
        parts.append(
            f'<circle class="mark {state}" cx="{cx:.1f}" cy="{cy:.1f}" r="7"><title>{escape(said)}</title></circle>'
        )
        parts.append(f'<text class="number" x="{cx:.1f}" y="{cy + 3.5:.1f}" text-anchor="middle">{number}</text>')
    return parts


def _key(site: Mapping[str, Any]) -> str:
    return str(site["module"]) if site["sort"] == "linear" else f"{site['module']}:{site['sort']}"


@final
class Axis:
    """Maps values to pixels over a range of round numbers."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        span = high - low if high - low > _ROUNDING * max(abs(low), abs(high)) else 0.0
        step = _round_step(span / _NUM_TICKS or 1.0)
        self.low, self.high = floor(low / step) * step, ceil(high / step) * step
        self.high = self.high if self.high > self.low else self.low + step
        count = round((self.high - self.low) / step)
        self.ticks = [self.low + step * index for index in range(count + 1)]
        self._start, self._scale = start, (end - start) / (self.high - self.low)

    def at(self, value: float) -> float:
        return self._start + (value - self.low) * self._scale


@final
class _LogAxis:
    """Maps positive values to pixels by their logarithm, from one round number to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        rungs = [factor * 10.0**power for power in range(-12, 16) for factor in (1, 2, 5)]
        lowest, highest = min(values), max(values)
        first = max(index for index, rung in enumerate(rungs) if rung <= lowest)
        last = min(index for index, rung in enumerate(rungs) if rung >= highest)
        last = max(last, first + 1)
        self.low, self.high = rungs[first], rungs[last]
        step = 1 if last - first <= 2 * _NUM_TICKS else 3  # with too many of them, powers of ten only
        self.ticks = [rung for rung in rungs[first : last + 1] if step == 1 or str(rung)[0] == "1"]
        self._start, self._scale = start, (end - start) / log10(self.high / self.low)

    def at(self, value: float) -> float:
        return self._start + log10(value / self.low) * self._scale


def _round_step(size: float) -> float:
    magnitude = 10.0 ** floor(log10(size))
    return next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= size * (1 - 1e-9))


def _axes(
    xs: "Axis | _LogAxis", ys: Axis, height: int, x_label: str, y_label: str, width: int = _WIDTH
) -> Iterable[str]:
    yield from _x_axis(xs, height - _MARGIN_BOTTOM, x_label)
    for tick, said in zip(ys.ticks, _ticks(ys.ticks), strict=True):
        y = ys.at(tick)
        yield f'<line class="grid" x1="{_MARGIN_LEFT}" x2="{width - _MARGIN_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{_MARGIN_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{said}</text>'
    middle = (height - _MARGIN_BOTTOM + _MARGIN_TOP) / 2
    turned = f'transform="translate(14,{middle:.1f}) rotate(-90)"'
    yield f'<text class="axis" {turned} text-anchor="middle">{escape(y_label)}</text>'


def _x_axis(xs: "Axis | _LogAxis", bottom: float, label: str) -> Iterable[str]:
    for tick in xs.ticks:
        x = xs.at(tick)
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{_tick(tick)}</text>'
    middle = (xs.at(xs.low) + xs.at(xs.high)) / 2
    yield f'<text class="axis" x="{middle:.1f}" y="{bottom + 34:.1f}" text-anchor="middle">{escape(label)}</text>'


def _ticks(values: Sequence[float]) -> list[str]:
    """In as few digits, from three on, as tell them apart."""
    said = ([_tick(value, digits) for value in values] for digits in range(3, 12))
    return next(one for one in said if len(set(one)) == len(values))


def _tick(value: float, digits: int = 3) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}" if abs(value) > 1e-12 else "0"


def svg_of(width: float, height: float, parts: Iterable[str]) -> str:
    """The parts as one picture of that size."""
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">{body}</svg>'


_LEGEND_COLUMN, _LEGEND_ROW = 170, 18
_PAPER = """svg{background:#fff}text{fill:#667085;font:12px system-ui,sans-serif}text.label{fill:#1d2330}
.grid{stroke:#d9dde4}.zero{stroke:#667085}.limit{stroke:#b42318}.line{fill:none;stroke-width:1.5;opacity:.75}
.whisker,.dot{stroke-width:1.5}.line.control{stroke-dasharray:5 4}.line.second{stroke-dasharray:1.5 3}
.line.second.control{stroke-dasharray:8 3 1.5 3}"""
_INKS = ("#12805c", "#2563eb", "#b45309", "#7c3aed", "#0e7490", "#be185d", "#4d7c0f", "#64748b", "#c2410c", "#1e3a8a")
_MEANINGS = {"better": "#12805c", "worse": "#b42318", "even": "#667085"}


def standalone(picture: str, legend: Sequence[tuple[str, str]] = ()) -> str:
    """A picture of this file as an SVG document with colours of its own, its legend below.

    Args:
        legend: (CSS classes, name) of what the colours mean.
    """
    opening, _, rest = picture[picture.index("<svg") :].partition(">")
    width, height = (float(number) for number in opening.split('"')[1].split()[2:])
    columns = int((width - _MARGIN_LEFT) // _LEGEND_COLUMN)
    parts = [f"<style>{_PAPER}{''.join(_inks())}</style>", f'<rect width="100%" height="100%" fill="#fff"/>{rest[:-6]}']
    for index, (css, name) in enumerate(legend):
        x = _MARGIN_LEFT + _LEGEND_COLUMN * (index % columns)
        y = height + _LEGEND_ROW * (index // columns) + 12
        parts.append(_mark(css, x, y))
        parts.append(f'<text class="label" x="{x + 10}" y="{y + 4:.0f}">{escape(name)}</text>')
    return svg_of(width, height + _LEGEND_ROW * ceil(len(legend) / columns) + 14, parts)


def _inks() -> Iterable[str]:
    colors = {**{f"c{index}": ink for index, ink in enumerate(_INKS)}, **_MEANINGS}
    for css, ink in colors.items():
        yield f".line.{css},.whisker.{css},.dot.{css}{{stroke:{ink}}}.dot.{css}{{fill:{ink}}}"
    yield ".dot.control{fill:#fff}"
