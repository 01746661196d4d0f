"""What a comparison leaves in its folder, and the status that it ends with."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saint.cli._sessions import Sessions
from saint.cli.main import main
from saint.errors import Interrupted
from workshop import Workshop

PLAN = """
name = "tiny"
base = "base"
budgets = [0.05]
seeds = [0, 1]
tries = 1
evaluation_seq_len = 32

[data]
prepared = "text"

[schedule]
num_steps = 4
batch_size = 2
seq_len = 16
fade_in = 0.5

[sensitivity]
num_batches = 1

[[arms]]
name = "bias"
kind = "bias"

[[arms]]
name = "lora"
kind = "lora"
size = "rank"
lr = LR
control = true

[[arms]]
name = "random"
kind = "lora"
size = "rank"
sites = "random"
share = 0.3
lr = LR
control = true

[[arms]]
name = "full"
whole = "full"
lr = 1e-3
"""


def compare(workshop: Workshop, lr: str, *targets: str) -> Result:
    path = workshop.root / "compare.toml"
    path.write_text(PLAN.replace("LR", lr), encoding="utf-8")
    (workshop.root / "out" / "results.json").unlink(missing_ok=True)  # it is of a plan with other targets
    chosen = [word for target in targets for word in ("--set", f"targets.{target}")]
    arguments = ["compare", path, "--output-dir", workshop.root / "out", "--workers", 1, *chosen]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.slow  # the first of the commands starts a process
def test_the_status_says_whether_the_figures_were_reached(workshop: Workshop) -> None:
    fine = compare(workshop, "2e-2", "budgets_won=0", "seconds=1e6")
    assert fine.exit_code == 0, fine.output
    assert "FIGURE budgets_won_corrected 0 >=0 ok\n" in fine.output
    assert "wall clock of 1 session\n" in fine.output
    short = compare(workshop, "2e-2", "budgets_won=2")
    assert short.exit_code == 1, short.output
    assert "FIGURE budgets_won 0 >=2 short" in short.output
    record = json.loads((workshop.root / "out" / "results.json").read_text(encoding="utf-8"))
    assert (record["cost"]["resumed"], len(record["cost"]["sessions"])) == (True, 2)
    assert record["cost"]["num_known"] == record["cost"]["num_jobs"]
    [earlier, now] = record["cost"]["sessions"]
    assert record["cost"]["seconds"] == earlier["wall_s"] + now["wall_s"]
    drawn = {row["arm"]: [seed.get("sites") for seed in row["seeds"]] for row in record["rows"]}
    assert drawn["lora"] == [None, None]
    assert all(drawn["random"])
    table = (workshop.root / "out" / "table.md").read_text(encoding="utf-8")
    assert f"- code {record['code_digest']}" in table
    (workshop.root / "out" / "sessions.json").unlink()
    unknown = compare(workshop, "2e-2", "seconds=1e6")
    assert unknown.exit_code == 3, unknown.output
    assert "seconds was not measured: an earlier session" in unknown.output


@pytest.mark.slow  # it starts a process
def test_a_figure_that_cannot_be_measured_is_a_status_of_its_own(workshop: Workshop) -> None:
    found = compare(workshop, "1e30", "gain_per_byte_ratio=2")  # every rival diverges
    assert found.exit_code == 3, found.output
    assert "gain_per_byte_ratio was not measured: at the smallest budget" in found.output
    assert "Traceback" not in found.output


def test_sessions_add_up_also_those_that_were_stopped(tmp_path: Path) -> None:
    with Sessions(tmp_path, num_workers=2) as first:
        assert len(first.all()) == 1
    with pytest.raises(Interrupted), Sessions(tmp_path, num_workers=1):
        raise Interrupted("stopped")
    third = Sessions(tmp_path, num_workers=1)
    assert [one["num_workers"] for one in third.earlier] == [2, 1]
    assert not list(tmp_path.glob(".*")), "no draft is left"


def test_a_session_that_is_killed_has_left_most_of_its_time(tmp_path: Path) -> None:
    session = Sessions(tmp_path, num_workers=2, save_every_s=0.01)
    with session:
        deadline = time.monotonic() + 10
        [begun] = Sessions(tmp_path, num_workers=1).earlier
        while Sessions(tmp_path, num_workers=1).earlier[0]["wall_s"] <= begun["wall_s"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
