"""The growth curve as a table and as pictures."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from saint.records import Interval, to_plain
from saint.registry import Registry
from saint.report import curve_table, report_parts, summarise, to_html
from saint.report._growth_curve import curve_pictures
from saint.report._svg import Point, line


def a_point(number: int | None, bpb: float, tokens: int) -> dict[str, object]:
    gain = Interval(estimate=2.0 - bpb, low=1.95 - bpb, high=2.05 - bpb, standard_error=0.025, num_documents=20)
    return {
        "round": number,
        "split": "select",
        "stack": [],
        "grown_bpb": bpb,
        "retain_bpb": {"<code>": 1.25},
        "gain_bpb": None if number is None else to_plain(gain),
        "num_params": tokens // 10,
        "train_tokens": tokens,
        "train_flops": 1e6 * tokens,
        "train_seconds": tokens / 100,
    }


POINTS = [a_point(None, 2.0, 0), a_point(0, 1.75, 5000), a_point(1, 1.5, 12_000)]


def printed(*parts: RenderableType) -> str:
    console = Console(file=StringIO(), width=400, color_system=None)
    console.print(*parts)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_has_a_line_for_each_point() -> None:
    said = printed(curve_table(POINTS))
    assert "the bare base" in said
    [line] = [line for line in said.splitlines() if "round 2" in line]
    for words in ("1,200", "12,000", "1.2e+10", "120.0", "1.5000", "+0.5000 [+0.4500, +0.5500]", "1.2500"):
        assert words in line
    assert printed(curve_table([]))


def test_there_is_a_picture_for_each_axis_and_its_points_lie_where_they_say() -> None:
    pictures = curve_pictures(POINTS)
    assert len(pictures) == 4
    for picture, label in zip(pictures, ("parameters", "tokens", "FLOPs", "seconds"), strict=True):
        places = [tuple(map(float, found)) for found in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)]
        assert len(places) == 3
        assert label in picture
        (x0, y0), (x1, y1), (x2, y2) = places
        assert (x2 - x0) / (x1 - x0) == pytest.approx(12 / 5, rel=0.02)
        assert y2 - y1 == pytest.approx(y1 - y0, rel=0.02)
        assert y2 > y0, "less loss is lower"
        assert picture.count('class="whisker') == 2, "the bare base is what the others are held against"
    assert curve_pictures([]) == []


def test_places_on_a_short_axis_are_told_apart() -> None:
    near = [a_point(None, 2.0, 0), a_point(0, 1.9999, 5000)]
    for point in near:
        point["gain_bpb"] = None
    [picture, *_] = curve_pictures(near)
    ticks = re.findall(r'text-anchor="end">([\d.]+)</text>', picture)
    assert len(ticks) == len(set(ticks)) > 3


def test_page_terminal_and_json_have_the_curve_where_there_is_one(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    before = summarise(registry)
    assert "Growth curve" not in printed(*report_parts(before))
    assert "bits per byte of all that stood" not in to_html(before), "as of a registry from before there were curves"
    for point in POINTS:
        registry.write("curve_measured", point)
    summary = summarise(registry)
    assert summary["growth_curve"] == POINTS
    assert "round 2" in printed(*report_parts(summary))
    assert "&lt;code&gt; bits/byte" in to_html(summary)
    assert to_html(summary).count("bits per byte of development text</text>") == 4


def test_two_values_that_differ_by_a_rounding_are_drawn_as_one() -> None:
    points = [Point(x=float(index), y=y, label="") for index, y in enumerate((2.0, 1.9999999999999998))]
    assert line(points, x_label="x", y_label="y").count("<circle") == 2
