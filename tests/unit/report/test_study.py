"""A study as tables, Markdown and pictures."""

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from made_up_study import made_up_findings, made_up_study, plan_of
from saint import records
from saint.data import Splits
from saint.models import FrozenBase
from saint.report import (
    study_figure_lines,
    study_figures,
    study_markdown,
    study_parts,
    study_pictures,
    study_unmeasured,
    write_study,
)
from saint.studies import SetPlan

TARGETS = {
    "best_map_spearman_within_role": 0.6,
    "short_run_third_spearman": 0.71,
    "best_map_top6_regret": 0.1,
}


def test_every_guess_is_in_every_table(base: FrozenBase, data: Splits) -> None:
    plan = plan_of(targets=TARGETS)
    record = made_up_study(plan, made_up_findings(plan, base, data))
    console = Console(width=160, record=True, file=io.StringIO())
    for part in study_parts(record):
        console.print(part)
    text = console.export_text()
    markdown = study_markdown(record)
    for row in record["rows"]:
        assert text.count(row["guess"]) >= 3
        assert markdown.count(f"| {row['guess']} |") == 4, "correlation, and regret in three views"
    for one in record["candidates"]:
        assert f"| {one['where']} |" in markdown
    assert "-1.00 [" in text
    assert "halve after 4 steps" in text


def test_figures_say_whose_they_are_and_what_is_short(base: FrozenBase, data: Splits) -> None:
    plan = plan_of(targets=TARGETS)
    record = made_up_study(plan, made_up_findings(plan, base, data))
    assert [figure.ok for figure in study_figures(record)] == [False, True, False]
    lines = study_figure_lines(record)
    assert lines[0] == "FIGURE best_map_spearman_within_role -1 >=0.6 short"
    assert lines[1] == "  gradient"
    assert lines[2] == "FIGURE short_run_third_spearman 1 >=0.71 ok"
    assert study_unmeasured(record) == []
    assert study_figures({**record, "plan": {**record["plan"], "targets": None}}) == []
    missing = {**record, "figures": {**record["figures"], "short_run_third_spearman": None}}
    [said] = study_unmeasured(missing)
    assert said.startswith("short_run_third_spearman was not measured: ")


def test_pictures_have_a_dot_for_every_candidate_and_guess(base: FrozenBase, data: Splits) -> None:
    plan = plan_of()
    record = made_up_study(plan, made_up_findings(plan, base, data))
    pictures = study_pictures(record)
    assert {f"regret-first-{top}" for top in plan.top} < pictures.keys()
    shown = [scores for scores in record["scores"].values() if len(set(scores)) > 1]
    ranks = ET.fromstring(pictures["ranks"].svg)
    assert len(ranks.findall(".//{*}circle")) == len(shown) * len(record["candidates"])
    places = [float(dot.attrib["cx"]) for dot in ranks.findall(".//{*}circle")]
    assert 0 < min(places) < max(places) < float(ranks.attrib["viewBox"].split()[2])
    correlations = ET.fromstring(pictures["correlation-all"].svg)
    assert len(correlations.findall(".//{*}circle")) == len(record["rows"])


def test_everything_is_written_and_the_results_can_be_read_again(
    base: FrozenBase, data: Splits, tmp_path: Path
) -> None:
    plan = plan_of()
    record = made_up_study(plan, made_up_findings(plan, base, data, noise=0.02))
    write_study(record, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == records.to_plain(record)
    assert {f"{name}.svg" for name in study_pictures(record)} == {file.name for file in tmp_path.glob("*.svg")}
    for file in tmp_path.glob("*.svg"):
        ET.fromstring(file.read_text())
    assert (tmp_path / "table.md").read_text() == study_markdown(record)


def test_a_failure_is_told(base: FrozenBase, data: Splits) -> None:
    plan = plan_of()
    record = made_up_study(plan, made_up_findings(plan, base, data))
    record["candidates"][2]["failures"] = {"1": "it ran away"}
    assert f"- {record['candidates'][2]['where']} with seed 1 failed and counts as no gain: it ran away" in (
        study_markdown(record).splitlines()
    )


@pytest.mark.parametrize("view", ["all", "within role", "per parameter"])
def test_views_are_spelt_in_the_file_names(base: FrozenBase, data: Splits, view: str) -> None:
    plan = plan_of()
    record = made_up_study(plan, made_up_findings(plan, base, data))
    assert f"correlation-{view.replace(' ', '-')}" in study_pictures(record)


def test_the_winner_is_named_with_what_is_as_good_for_less(base: FrozenBase, data: Splits) -> None:
    plan = plan_of(sets=records.to_plain(SetPlan(num=2)))
    found = made_up_findings(plan, base, data)
    record = made_up_study(plan, found)
    n = len(found.candidates)
    assert f"most gain: train all {n}, " in study_markdown(record)
    sizes, bare = data.held_out.num_bytes_each.tolist(), found.bare["held_out"]
    most = [loss - 0.3 * size for loss, size in zip(bare, sizes, strict=True)]
    level = [
        loss + (0.45 if place % 2 else -0.35) * size for place, (loss, size) in enumerate(zip(most, sizes, strict=True))
    ]
    ways = {
        "joined": {"num_params": 20, "train_tokens": 50, "held_out": most},
        "leave-one-out": {"num_params": 20, "train_tokens": 70, "held_out": level},
    }
    record = made_up_study(plan, replace(found, sets=dict.fromkeys(plan.seeds, ways)))
    text = study_markdown(record)
    assert f"most gain: train all {n}, join the best 2 and train on" in text
    assert "fewest tokens" in text
    assert "overgrow, prune to 2 by leave-one-out" in text.partition("fewest tokens")[2]
    assert "as many in each" in text
