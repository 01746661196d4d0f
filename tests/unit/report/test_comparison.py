"""A comparison for people: every row, every winner, also when that is the rival, and what went wrong."""

import json
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from made_up_comparison import made_up_row
from saint.comparison import (
    budgets_won,
    gain_per_byte_ratio,
    gain_per_byte_ratio_no_less_gain,
    make_views,
    strongest_rivals,
)
from saint.report import (
    comparison_figures,
    comparison_html,
    comparison_parts,
    comparison_pictures,
    figure_lines,
    to_markdown,
    unmeasured_lines,
    write_comparison,
)

MARKUP = '<blink>&"phi"</blink> [red]|'


def made_up_record(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    text = {"digest": "d" * 64, "num_documents": 20, "num_tokens": 900, "num_bytes": 3000}
    schedule = {"num_steps": 10, "batch_size": 4, "seq_len": 16}
    return {
        "name": "made up",
        "command": "saint compare made-up.toml",
        "plan": {"rival": "lora", "seeds": [0, 1, 2], "tries": 3, "schedule": schedule},
        "plan_digest": "a" * 64,
        "code_digest": "c" * 64,
        "versions": {"python": "3.11", "torch": "2.8"},
        "machine": {"processor": "x86_64", "num_cores": 2, "num_workers": 2, "device": "cpu"},
        "base": {"digest": "b" * 64, "architecture": "LlamaForCausalLM", "num_params": 1_000_000},
        "data": {"prose/train": text, "prose/held_out": text},
        "grown_domain": "prose",
        "documents": {"held_out": {}, "code": {}},
        "rows": rows,
        "views": make_views(rows, "lora"),
        "rivals": [{"budget": budget, "arm": row["arm"]} for budget, row in strongest_rivals(rows, "lora").items()],
        "figures": {
            "budgets_won": budgets_won(rows, corrected=False),
            "budgets_won_corrected": budgets_won(rows),
            "gain_per_byte_ratio": gain_per_byte_ratio(rows, "lora"),
            "gain_per_byte_ratio_no_less_gain": gain_per_byte_ratio_no_less_gain(rows, "lora"),
        },
        "cost": {
            "num_jobs": 8,
            "num_known": 0,
            "resumed": False,
            "sessions": [{"wall_s": 9.0, "num_workers": 2}],
            "seconds": 9.0,
        },
        **changes,
    }


def a_record() -> dict[str, Any]:
    failed = made_up_row("block", 0.01, None, status="diverged")
    failed["tried"] = [{"lr": 0.1, "select_bpb": None, "failure": "the loss stopped being a number at step 3"}]
    return made_up_record(
        [
            made_up_row("lora", 0.01, 0.20, ours=False),
            made_up_row(MARKUP, 0.01, 0.22, num_bytes=4000, difference=(0.01, 0.03)),
            failed,
            made_up_row("lora", 0.05, 0.30, num_bytes=5000, ours=False),
            made_up_row(MARKUP, 0.05, 0.28, num_bytes=4500, difference=(-0.04, -0.01)),
            made_up_row("block", 0.05, None, status="nothing fits"),
            made_up_row("full", None, 0.50, num_bytes=100_000, ours=False),
        ]
    )


def printed(record: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=240)
    for part in comparison_parts(record):
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_gets_every_row_and_every_winner() -> None:
    said = printed(a_record())
    for words in ("1 %, 10,000 parameters", "5 %", "the whole base", "nothing fits", MARKUP, "full*"):
        assert words in said
    assert f"equal parameters at 1 %: {MARKUP} wins with +0.2200 [+0.2100, +0.2300]; lora is number 2 of 2" in said
    assert "equal parameters at 5 %: lora wins with +0.3000 [+0.2900, +0.3100]; the best of ours is" in said
    assert "equal tokens: full wins" in said
    assert "block at 1 %, lr 0.1: the loss stopped being a number" in said


def test_the_reader_is_told_what_the_intervals_hold_for() -> None:
    assert "over documents and 3 seeds" in printed(a_record())
    one_seed = a_record()
    one_seed["plan"]["seeds"] = [0]
    assert "they say nothing about other seeds" in printed(one_seed)
    assert "up to 2 arms of ours were held against the rival of one budget" in printed(one_seed)
    assert "seconds are processor time of training, birth included, on a shared machine" in printed(one_seed)


def test_a_best_rate_at_the_edge_and_a_resumed_run_are_told() -> None:
    record = a_record()
    assert "at the edge" not in printed(record)
    record["rows"][0]["lr_at_the_edge"] = True
    record["cost"] |= {"resumed": True, "num_known": 3}
    said = printed(record)
    assert "1 of 7 rows have their best learning rate (marked >) at the edge" in said
    assert "3 of 8 pieces of work were there already" in said
    assert "lora's best rate is at the edge of its search at 1 %: raise tries" in said


def test_the_rival_of_each_budget_is_named_and_all_face_it() -> None:
    record = a_record()
    strong = made_up_row("lora, attention", 0.01, 0.21, ours=False, kind="lora")
    record = made_up_record([*record["rows"], strong])
    said = printed(record)
    assert "lora, attention at 1 %, lora at 5 %; choosing it on held-out text can only make it stronger" in said
    assert "against lora, attention" in said
    page = to_markdown(record)
    assert "| against lora, attention |" in page
    assert "| against lora |" in page
    assert "Against lora<" in comparison_html(record)


def test_a_row_says_what_share_of_its_budget_it_spends() -> None:
    assert "| of the budget |" in to_markdown(a_record())
    assert "| 1,000 | 10% | 4,000 |" in to_markdown(a_record())


def test_what_was_not_timed_and_what_cannot_be_merged_are_told_apart_from_a_whole_base() -> None:
    record = a_record()
    record["rows"][0] |= {"seconds": None, "merge_drift": None}
    record["rows"][0]["gain_per"]["second"] = None
    [_, costs] = to_markdown(record).split("## What it costs")
    assert "cannot be merged" in next(line for line in costs.splitlines() if line.startswith("| lora"))
    assert "cannot be merged" not in next(line for line in costs.splitlines() if line.startswith("| full"))
    assert "not measured" in printed(record)


TARGETS = {"budgets_won": 1, "gain_per_byte_ratio": 2.0, "gain_per_byte_ratio_no_less_gain": 2.0, "seconds": 5.0}


def test_figures_say_what_they_are_of() -> None:
    record = a_record()
    assert figure_lines(record) == []
    record["plan"]["targets"] = TARGETS
    record["rows"][0]["lr_at_the_edge"] = True
    of = f"{MARKUP} at 1 % (1,000 parameters, 4,000 bytes) against lora at 1 % (250 parameters, 1,000 bytes)"
    assert figure_lines(record) == [
        "FIGURE budgets_won 1 >=1 ok",
        "  with an interval for one arm of ours; the best of several is lucky, for which the next allows",
        "FIGURE budgets_won_corrected 0 >=1 short",
        "FIGURE gain_per_byte_ratio 0.275 >=2 short",
        f"  {of}",
        "FIGURE gain_per_byte_ratio_no_less_gain 0.311111 >=2 short",
        f"  {of.replace('1 % (1,000 parameters, 4,000', '5 % (1,125 parameters, 4,500', 1)}",
        "FIGURE seconds 9 <=5 short",
        "  wall clock of 1 session",
        "lora's best rate is at the edge of its search at 1 %: raise tries",
    ]
    assert "FIGURE budgets_won_corrected 0 >=1 short" in to_markdown(record)


def test_figures_that_could_not_be_measured_say_why() -> None:
    record = made_up_record([made_up_row("lora", 0.01, -0.1, ours=False), made_up_row("phi", 0.01, 0.1)])
    record["plan"]["targets"] = TARGETS
    record["cost"]["seconds"] = None
    assert [figure.name for figure in comparison_figures(record)] == ["budgets_won", "budgets_won_corrected"]
    unmeasured = unmeasured_lines(record)
    assert [line.split()[0] for line in unmeasured] == [name for name in TARGETS if name != "budgets_won"]
    assert "an unknown time" in to_markdown(record)


def test_twenty_arms_have_twenty_looks() -> None:
    rows = [made_up_row(f"arm {n}", 0.01, 0.1 + n / 100, ours=n % 2 == 0) for n in range(20)]
    picture = comparison_pictures(made_up_record(rows))["gain-by-parameters"]
    assert len({css for css, _ in picture.legend}) == 20
    assert picture.svg.count("<rect") == 10


def test_markdown_is_complete_and_keeps_its_columns() -> None:
    page = to_markdown(a_record())
    for words in ("$ saint compare made-up.toml", "a" * 64, "b" * 64, "torch 2.8", "2 cores", "0.01: 1.5000"):
        assert words in page
    for block in page.split("\n\n"):
        bars = {line.replace("\\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(bars) <= 1, block


def test_the_page_shows_what_people_wrote_and_obeys_none_of_it() -> None:
    page = comparison_html(a_record())
    assert "<blink>" not in page
    assert "&lt;blink&gt;" in page
    assert "src=" not in page
    assert "<script" not in page


def test_pictures_stand_alone_as_well_formed_svg(tmp_path: Path) -> None:
    write_comparison(a_record(), tmp_path)
    pictures = sorted(tmp_path.glob("*.svg"))
    assert [file.stem for file in pictures] == [
        "against-lora-1pc",
        "against-lora-5pc",
        "gain-by-bytes",
        "gain-by-loss",
        "gain-by-parameters",
    ]
    for file in pictures:
        root = ET.parse(file).getroot()
        assert root.tag.endswith("svg")
        assert "var(" not in file.read_text(encoding="utf-8"), "its colours are its own"
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["name"] == "made up"


def test_a_logarithmic_axis_keeps_ratios() -> None:
    svg = comparison_pictures(made_up_record([made_up_row("lora", b, 0.1, num_bytes=n) for b, n in _GROWING]))
    root = ET.fromstring(svg["gain-by-bytes"].svg.partition("</div>")[2])
    xs = [float(dot.get("cx", "")) for dot in root.iter() if dot.tag.endswith("circle")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


_GROWING = ((0.001, 1000), (0.01, 10_000), (0.05, 100_000))


def test_nothing_measured_is_a_page_without_pictures(tmp_path: Path) -> None:
    record = made_up_record([made_up_row("lora", 0.01, None, status="diverged", ours=False)])
    write_comparison(record, tmp_path)
    assert not list(tmp_path.glob("*.svg"))
    assert "nothing to rank" in printed(record)
