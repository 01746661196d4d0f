"""Who changed what, for people: every number with its interval, everything shown as it was written."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from saint.report import blame_html, blame_lines, blame_parts, blame_picture, write_picture

MARKUP = '<blink>&amp; "worse" on [red]code[/blue] :rose:'
SVG = "{http://www.w3.org/2000/svg}"


def interval(estimate: float, half: float = 0.01) -> dict[str, Any]:
    low, high = estimate - half, estimate + half
    return {"estimate": estimate, "low": low, "high": high, "standard_error": half / 2, "num_documents": 20}


def a_share(graft: str, value: float) -> dict[str, Any]:
    document = {"document": "d" * 64, "before_bpb": 2.5, "after_bpb": 2.25, "beginning": MARKUP}
    return {
        "graft": graft,
        "at_activation": interval(value + 0.001),
        "left_out": interval(value + 0.002),
        "shapley": interval(value),
        "standard_error_of_orders": 0.0,
        "documents": [document],
    }


def a_record(values: dict[str, list[float]], *, pair: float = 0.0, **changes: Any) -> dict[str, Any]:
    num = len(next(iter(values.values())))
    digests = [f"{place:x}" * 64 for place in range(1, num + 1)]
    suites = {
        suite: {
            "documents": "c" * 64,
            "total": interval(sum(found)),
            "shares": [a_share(digest, value) for digest, value in zip(digests, found, strict=True)],
            "pairs": [{"one": digests[0], "other": digests[-1], "gain_bpb": interval(pair)}] * (num > 1),
        }
        for suite, found in values.items()
    }
    grafts = [{"digest": digest, "kind": "phi", "where": f"{MARKUP} {place}"} for place, digest in enumerate(digests)]
    record = {"registry": MARKUP, "split": "select", "seed": 7, "num_pairs": 0, "grafts": grafts, "suites": suites}
    return {**record, **changes}


def text_of(record: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=250)
    for part in blame_parts(record):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_every_graft_and_suite_has_its_numbers() -> None:
    text = text_of(a_record({"code": [0.125, -0.25], "prose": [0.5, 0.0625]}))
    for suite, total in (("code", "-0.1250"), ("prose", "+0.5625")):
        assert f"{suite} (select, 20 documents): the stack saves {total} [" in text
    for value in (0.125, -0.25, 0.5, 0.0625):
        assert f"{value:+.4f} [{value - 0.01:+.4f}, {value + 0.01:+.4f}]" in text
        assert f"{value + 0.001:+.4f}" in text
        assert f"{value + 0.002:+.4f}" in text
    assert "2.5000" in text
    assert "2.2500" in text
    assert MARKUP in text, "shown, not obeyed"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1, -0.2, -0.1], "code: harmed most by 222222222222, which saves -0.2000 ["),
        ([0.1, -0.005], "code: no graft was seen to harm it; 222222222222 may, as it saves -0.0050 ["),
        ([0.1, 0.2], "code: no graft was seen to harm it; 111111111111 does least, as it saves +0.1000 ["),
    ],
)
def test_the_sentence_says_no_more_than_the_interval_does(values: list[float], said: str) -> None:
    [line] = blame_lines(a_record({"code": values}))
    assert line.startswith(said)


def test_pairs_are_shown_where_their_interval_is_on_one_side_of_nothing() -> None:
    assert "no two grafts were seen" in text_of(a_record({"code": [0.1, 0.2]}, pair=0.005))
    seen = text_of(a_record({"code": [0.1, 0.2]}, pair=-0.5))
    assert "no two grafts were seen" not in seen
    assert "-0.5000 [-0.5100, -0.4900]" in seen
    assert "no two grafts" not in text_of(a_record({"code": [0.1]}))


def test_the_largest_interactions_come_first_and_the_rest_is_counted() -> None:
    record = a_record({"code": [0.1, 0.2]})
    pairs = [{"one": "1" * 64, "other": "2" * 64, "gain_bpb": interval(value / 10)} for value in range(1, 15)]
    record["suites"]["code"]["pairs"] = pairs
    text = text_of(record)
    assert text.index("+1.4000") < text.index("+1.3000") < text.index("+0.5000")
    assert "+0.4000" not in text
    assert "4 smaller" in text


def test_drawn_orders_are_said_to_be_drawn() -> None:
    assert "random orders" not in text_of(a_record({"code": [0.1]}))
    assert "32 random orders were tried, drawn with seed 7" in text_of(a_record({"code": [0.1]}, num_pairs=16))


def test_the_picture_has_a_bar_and_a_whisker_for_each_graft_and_suite(tmp_path: Any) -> None:
    values = {"code": [0.125, -0.25], "prose": [0.5, 0.0], "law": [0.1, 0.1], "verse": [-0.1, 0.3]}
    write_picture(tmp_path / "blame.svg", blame_picture(a_record(values)))
    picture = ET.parse(tmp_path / "blame.svg").getroot()
    bars = [rect for rect in picture.iter(f"{SVG}rect") if "dot" in rect.get("class", "")]
    whiskers = [line for line in picture.iter(f"{SVG}line") if "whisker" in line.get("class", "")]
    assert [bar.get("class") for bar in bars] == [
        f"dot {css}" for css in ("better", "worse", "better", "even", "better", "better", "worse", "better")
    ]
    assert len(whiskers) == len(bars) == 8
    widths = [float(bar.get("width", "nan")) for bar in bars]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2), "all suites are drawn to one scale"
    assert widths[2] == pytest.approx(4 * widths[0], abs=0.3)
    names = [text.text for text in picture.iter(f"{SVG}text")]
    assert set(values) <= set(names)
    width, height = (float(size) for size in picture.get("viewBox", "").split()[2:])
    assert all(0 < float(text.get("x", "nan")) < width for text in picture.iter(f"{SVG}text"))
    assert all(0 < float(text.get("y", "nan")) < height for text in picture.iter(f"{SVG}text"))


class Words(HTMLParser):
    """What a reader of a page sees, and what the page loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.loads, self.tags = "", [], set[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_everything_and_loads_nothing() -> None:
    page = Words(blame_html(a_record({"code": [0.125, -0.25], "prose": [0.5, 0.0]}, pair=0.5)))
    assert page.words.count(MARKUP) > 4
    assert "blink" not in page.tags
    assert {"svg", "table", "rect"} <= page.tags
    assert not page.loads
    for said in ("code: harmed most by 222222222222", "+0.1250 [+0.1150, +0.1350]", "+0.5000 [+0.4900, +0.5100]"):
        assert said in page.words
