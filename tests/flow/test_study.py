"""A study from the command line, stopped and killed for real."""

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
seeds = [0, 1]
num_batches = 1
short = [4, 8]
evaluation_seq_len = 32
num_resamples = 50

[data]
prepared = "text"

[schedule]
num_steps = 12
batch_size = 4
seq_len = 16
evaluate_every = 4

[sets]
num = 2
joint_steps = 4
retrain_steps = 4

[targets]
best_map_spearman_within_role = -1
short_run_third_spearman = -1
best_map_top6_regret = 1

[[proposals]]
kind = "lora"
options = { rank = 2 }
roles = ["q", "v", "down"]
bundle = "site"
lr = 0.05
"""


@pytest.fixture
def plan(workshop: Workshop) -> Path:
    path = workshop.root / "study.toml"
    path.write_text(PLAN, encoding="utf-8")
    return path


def results(folder: Path) -> dict[str, Any]:
    """Without what depends on how it was run."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("machine", "num_known")}


def trainings(folder: Path) -> dict[str, bytes]:
    """Candidates that are finished; a map, the bare base and sets have no tokens of their own."""
    files = {file.name: file.read_bytes() for file in (folder / "cells").glob("*.json")}
    return {name: content for name, content in files.items() if "train_tokens" in json.loads(content)}


def test_a_study_that_was_stopped_and_killed_goes_on_to_the_same(workshop: Workshop, plan: Path) -> None:
    whole, stopped = workshop.root / "whole", workshop.root / "stopped"
    done = workshop.saint("study", "sensitivity", plan, "--output-dir", whole, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FIGURE")] == [
        "best_map_spearman_within_role",
        "short_run_third_spearman",
        "best_map_top6_regret",
    ]
    record = results(whole)
    assert len(record["candidates"]) == 6
    assert len(trainings(whole)) == 12, "each with two seeds"
    assert (whole / "ranks.svg").exists()
    ways = [row["name"] for row in record["strategies"]]
    assert ways[-6:] == [
        "train all 6, compose the best 2",
        "train all 6, join the best 2 and train on",
        "train all 6, then the best 2 in stages",
        "overgrow, prune to 2 by leave-one-out",
        "overgrow, prune to 2 by taylor",
        "overgrow, prune to 2 by chance",
    ]

    said = stop(start(plan, stopped), stopped, 2, signal.SIGINT)
    assert "run the same command again" in said
    assert "Traceback" not in said
    once = trainings(stopped)
    assert 2 <= len(once) < 12
    stop(start(plan, stopped), stopped, len(once) + 2, signal.SIGKILL)
    kept = trainings(stopped)
    assert once.items() < kept.items(), "nothing was done twice"
    assert len(kept) < 12
    assert not (stopped / "results.json").exists()
    again = workshop.saint("study", "sensitivity", plan, "--output-dir", stopped, "--workers", 2, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["num_known"] == len(kept)
    assert results(stopped) == record
    assert trainings(stopped) == trainings(whole)
    assert not list((stopped / "cells").glob("*.checkpoint"))


def stop(process: "subprocess.Popen[str]", folder: Path, number: int, how: signal.Signals) -> str:
    """Let so many trainings be finished, stop the command as a terminal does, and return what it says."""
    deadline = time.monotonic() + 180
    while len(trainings(folder)) < number:
        assert time.monotonic() < deadline, "no training is finished"
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (130 if how == signal.SIGINT else -how), said
    return said


def start(plan: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "saint.cli", "study", "sensitivity", str(plan), "--output-dir", str(folder)]
    return subprocess.Popen(
        [*command, "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ},
    )
