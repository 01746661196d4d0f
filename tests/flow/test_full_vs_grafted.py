"""Full models against grafted ones from the command line, killed for real."""

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
equal_to = "block"
seeds = [0, 1]
evaluation_seq_len = 32

[data]
vocab_size = 300

[data.domains.prose]
role = "grow"
sources = ["topics"]

[schedule]
num_steps = 8
batch_size = 4
seq_len = 16
evaluate_every = 4

[targets]
gain_nats = -1
held_out_tokens = 100
graft_seconds = 600

[[arms]]
name = "block"
kind = "block"
options = { width = 4 }
stages = 2
lrs = [0.02, 0.01]

[[arms]]
name = "lora"
kind = "lora"
options = { rank = 2 }
roles = ["q", "down"]
control = true

[[arms]]
name = "continued"
lrs = [1e-3]

[[backbones]]
name = "drm"

[backbones.base]
architecture = "drm"
domain = "prose"
lr = 5e-3
model = { d_model = 16, n_layers = 2, n_heads = 2, d_ff = 32, d_manifold = 4, metric_hidden = 8, max_seq_len = 64 }
schedule = { num_steps = 10, batch_size = 4, seq_len = 16, evaluate_every = 5 }

[backbones.full]
name = "twice as wide"

[backbones.full.plan]
architecture = "drm"
domain = "prose"
lr = 5e-3
model = { d_model = 32, n_layers = 2, n_heads = 2, d_ff = 64, d_manifold = 4, metric_hidden = 8, max_seq_len = 64 }
schedule = { num_steps = 1, batch_size = 4, seq_len = 16, evaluate_every = 5 }

[[backbones.others]]
name = "hardly any"

[backbones.others.plan]
architecture = "drm"
domain = "prose"
lr = 5e-3
model = { d_model = 8, n_layers = 1, n_heads = 2, d_ff = 8, d_manifold = 4, metric_hidden = 4, max_seq_len = 64 }
schedule = { num_steps = 1, batch_size = 1, seq_len = 16, evaluate_every = 50 }

[[calibration]]
name = "gpt2"

[calibration.plan]
architecture = "gpt2"
domain = "prose"
lr = 5e-3
model = { n_embd = 16, n_layer = 1, n_head = 2, n_positions = 64 }
schedule = { num_steps = 1, batch_size = 4, seq_len = 16, evaluate_every = 5 }
"""
TOKENS = (10 + 8) * 4 * 16
CLOCK = ("seconds", "all_seconds", "measure_s", "tokens_per_s", "gain_per", "train_s")


@pytest.fixture
def plan(workshop: Workshop) -> Path:
    path = workshop.root / "full.toml"
    path.write_text(PLAN, encoding="utf-8")
    topics = workshop.root / "topics"
    topics.mkdir()
    for place in range(120):
        words = " ".join(f"word{(place * 7 + step * step) % 31}" for step in range(40))
        (topics / f"{place}.txt").write_text(f"Text number {place}: {words}.\n", encoding="utf-8")
    return path


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def timeless(record: dict[str, Any]) -> list[Any]:
    """The rows without what depends on the clock, and without that of equal time."""
    return [
        {key: _timeless(value) for key, value in row.items() if key not in CLOCK}
        for row in record["rows"]
        if row["equal"] != "time"
    ]


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(one) for one in value]
    return {key: one for key, one in value.items() if key not in CLOCK} if isinstance(value, dict) else value


def test_what_was_killed_goes_on_to_the_same(workshop: Workshop, plan: Path) -> None:
    whole, killed = workshop.root / "whole", workshop.root / "killed"
    done = workshop.saint("study", "full-vs-grafted", plan, "--output-dir", whole, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FIGURE")] == [
        "gain_nats",
        "held_out_tokens",
        "graft_seconds",
    ]
    record = results(whole)
    check(record)
    assert (whole / "gains.svg").exists()

    stop(start(plan, killed), killed, 5)
    kept = cells(killed)
    assert not (killed / "results.json").exists()
    again = workshop.saint("study", "full-vs-grafted", plan, "--output-dir", killed, "--workers", 2, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["num_known"] >= 3, "bases and arms; a stage of an arm is none"
    assert kept.items() <= cells(killed).items(), "nothing was done twice"
    assert timeless(results(killed)) == timeless(record)
    assert len(list((killed / "cells").glob("*.safetensors"))) == 2, "bases stay, grafts go once they are measured"
    assert not list((killed / "cells").glob("*.checkpoint"))


def check(record: dict[str, Any]) -> None:
    """The rows of a whole study, and what has to be true of them."""
    rows = {(row["name"], row["equal"]): row for row in record["rows"]}
    assert list(rows) == [
        ("base", ""),
        ("block", ""),
        ("lora", ""),
        ("continued", ""),
        ("twice as wide", "tokens"),
        ("twice as wide", "time"),
        ("hardly any", "memory"),
        ("gpt2", ""),
    ]
    assert {row["status"] for row in record["rows"]} == {"measured"}
    assert {len(row["seeds"]) for row in record["rows"]} == {2}
    for key in (("block", ""), ("lora", ""), ("continued", ""), ("twice as wide", "tokens"), ("hardly any", "memory")):
        assert rows[key]["all_tokens"] == TOKENS, key
    assert len(rows["block", ""]["tried"]) == 2
    assert rows["block", ""]["num_params"] == 2 * 2 * (2 * 16 * 4), "two stages, each at two blocks"
    assert rows["block", ""]["recomposition"] == 0.0
    assert 0 < rows["lora", ""]["recomposition"] < 1e-4, "folded into the weights it is rounded otherwise"
    assert rows["hardly any", "memory"]["memory_bytes"] < rows["block", ""]["memory_bytes"]
    gain = rows["continued", ""]["gain_nats"]
    assert gain["low"] < gain["estimate"] < gain["high"]
    saved = rows["base", ""]["loss"] - rows["continued", ""]["loss"]
    assert gain["estimate"] == pytest.approx(saved, rel=1e-9)


def test_a_source_stands_in_for_the_plans_text(workshop: Workshop, plan: Path) -> None:
    text = workshop.root / "elsewhere"
    (workshop.root / "topics").rename(text)
    fewer = ("--set", "against=[]", "--set", "seeds=[0]", "--set", "calibration=[]")
    command = ("study", "full-vs-grafted", plan, "--output-dir", workshop.root / "out", "--workers", 1, *fewer)
    missing = workshop.saint(*command)
    assert missing.returncode == 2, missing.stderr
    assert "topics" in missing.stderr
    done = workshop.saint(*command, "--source", text, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [row["name"] for row in record["rows"]] == ["base", "block", "lora", "continued"]
    other = workshop.saint(*command, "--source", text / "1.txt")
    assert other.returncode == 2, other.stderr
    assert "holds the results of another plan" in other.stderr


def cells(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "cells").glob("*.json") if "." not in file.stem}


def stop(process: "subprocess.Popen[str]", folder: Path, number: int) -> None:
    """Let so many pieces of work be finished, then kill all of the command."""
    deadline = time.monotonic() + 180
    while len(cells(folder)) < number:
        assert time.monotonic() < deadline, "nothing is finished"
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)


def start(plan: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "saint.cli", "study", "full-vs-grafted", str(plan), "--output-dir", str(folder)]
    return subprocess.Popen(
        [*command, "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ},
    )
