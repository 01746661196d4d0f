"""A comparison from the command line, with real processes, killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workshop import Workshop

pytestmark = pytest.mark.slow  # every command is a process that loads PyTorch

PLAN = """
name = "tiny"
base = "base"
budgets = [0.05]
seeds = [0, 1]
tries = 3
evaluation_seq_len = 32

[data]
prepared = "text"

[schedule]
num_steps = 12
batch_size = 4
seq_len = 16
evaluate_every = 6

[sensitivity]
num_batches = 2

[targets]
budgets_won = 0
seconds = 3600

[[arms]]
name = "phi"
kind = "phi"
size = "rank"
lr = 0.05

[[arms]]
name = "lora"
kind = "lora"
size = "rank"
lr = 0.02
control = true

[[arms]]
name = "full"
whole = "full"
lr = 3e-3

[[arms]]
name = "continued"
whole = "continued"
lr = 3e-3
"""


TARGETS = ["budgets_won", "budgets_won_corrected", "seconds"]


@pytest.fixture
def plan(workshop: Workshop) -> Path:
    path = workshop.root / "compare.toml"
    path.write_text(PLAN, encoding="utf-8")
    return path


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def gains(record: dict[str, Any]) -> list[Any]:
    """What does not depend on the clock."""
    kept = (
        "arm",
        "budget",
        "lr",
        "options",
        "gain_bpb",
        "difference_bpb",
        "regression_bpb",
        "train_flops",
        "num_bytes",
    )
    return [[row[key] for key in (*kept, "memory_bytes", "merge_drift")] for row in record["rows"]]


def test_a_comparison_ends_in_a_table_and_killed_it_goes_on_to_the_same(workshop: Workshop, plan: Path) -> None:
    whole, killed = workshop.root / "whole", workshop.root / "killed"
    done = workshop.saint("compare", plan, "--output-dir", whole, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "equal parameters at 5 %" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FIGURE")] == TARGETS
    record = results(whole)
    assert [row["status"] for row in record["rows"]] == ["measured"] * 4
    assert not record["cost"]["resumed"]
    assert {len(row["tried"]) for row in record["rows"]} == {3}
    assert {seed["seed"] for row in record["rows"] for seed in row["seeds"]} == {0, 1}
    for row in record["rows"]:
        best = min(row["tried"], key=lambda one: one["select_bpb"])
        assert row["lr"] == best["lr"]
        assert row["seeds"][0]["history"]["select_bpb"], "the tuned run is the first seed's"
    assert not list((whole / "cells").glob("*.safetensors")), "weights go once they are measured"

    process = start(plan, killed)
    wait_for_cells(killed, 5, process)
    process.kill()
    process.communicate()
    time.sleep(1)  # the workers find out by themselves
    kept = {file: file.read_bytes() for file in (killed / "cells").glob("*.json")}
    assert len(kept) >= 5
    again = workshop.saint("compare", plan, "--output-dir", killed, "--workers", 1)  # how many does not matter
    assert again.returncode == 0, again.stderr
    assert "were there already" in again.stdout
    assert gains(results(killed)) == gains(record)
    assert {file: file.read_bytes() for file in kept} == kept, "nothing was done twice"
    cost = results(killed)["cost"]
    assert cost["num_known"] >= len(kept) - 1  # one of them is the sensitivity map
    assert [one["num_workers"] for one in cost["sessions"]] == [2, 1], "the killed one has left its time"
    assert cost["seconds"] == sum(one["wall_s"] for one in cost["sessions"])


def test_ctrl_c_stops_and_the_same_command_goes_on(workshop: Workshop, plan: Path) -> None:
    plan.write_text(PLAN.replace("num_steps = 12", "num_steps = 60"), encoding="utf-8")
    folder = workshop.root / "stopped"
    process = start(plan, folder)
    wait_for_cells(folder, 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert not (folder / "results.json").exists()
    kept = {file: file.read_bytes() for file in (folder / "cells").glob("*.json")}
    fewer = ("--workers", 1, "--set", "seeds=[0]", "--set", "tries=1")
    short = workshop.saint("compare", plan, "--output-dir", folder, *fewer, "--json")
    assert short.returncode == 0, short.stderr
    assert json.loads(short.stdout)["cost"]["num_known"] >= 1
    assert {file: file.read_bytes() for file in kept} == kept


def start(plan: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "saint.cli", "compare", str(plan), "--output-dir", str(folder), "--workers", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ}
    )


def wait_for_cells(folder: Path, number: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 180
    while len(list((folder / "cells").glob("*.json"))) < number:
        assert time.monotonic() < deadline, "no cell is finished"
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
