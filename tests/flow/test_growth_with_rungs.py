"""Growth that stops losers on the way: what is written down, what it costs, and that a kill changes nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workshop import PLAN, Workshop, build_workshop

RUNGS = PLAN.replace("rounds = 2", "rounds = 1").replace("candidates_per_round = 3", "candidates_per_round = 5")
RUNGS = (
    RUNGS.replace('bundle = "all"', 'bundle = "role"')
    + """
[search]
rungs = [{ at = 0.25, keep = 0.5 }, { at = 0.5, keep = 0.5 }]
"""
)


@pytest.fixture
def with_rungs(tmp_path: Path) -> Workshop:
    workshop = build_workshop(tmp_path, plan=RUNGS)
    workshop.init()
    return workshop


def trained(workshop: Workshop) -> list[dict[str, object]]:
    return [event["body"] for event in workshop.events() if event["event"] == "trained"]


@pytest.mark.slow
def test_losers_are_written_down_with_what_they_cost(with_rungs: Workshop) -> None:
    done = with_rungs.saint("grow", with_rungs.registry)
    assert done.returncode == 0, done.stderr
    found = trained(with_rungs)
    steps = sorted(int(str(body["train_tokens"])) // 64 for body in found)
    assert steps == [6, 6, 12, 24, 24], "ceil of a half goes on at each rung"
    stopped = [body for body in found if body.get("stopped")]
    assert len(stopped) == 3
    assert all("went on" in str(body["stopped"]) and not body["graft"] for body in stopped)
    judged = {event["body"]["evidence"]["graft"] for event in with_rungs.events() if event["event"] == "judged"}
    assert judged <= {body["graft"] for body in found if body["graft"]}


@pytest.mark.slow
def test_a_killed_round_comes_to_the_same_grafts(with_rungs: Workshop, tmp_path: Path) -> None:
    other = build_workshop(tmp_path / "other", plan=RUNGS) if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    other.init()
    assert other.saint("grow", other.registry).returncode == 0
    command = [sys.executable, "-m", "saint.cli", "grow", str(with_rungs.registry)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = with_rungs.registry / "work" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("*.safetensors")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = with_rungs.saint("grow", with_rungs.registry)
    assert done.returncode == 0, done.stderr
    keys = ("trial", "graft", "train_tokens", "stopped")
    assert [[body.get(key) for key in keys] for body in trained(with_rungs)] == [
        [body.get(key) for key in keys] for body in trained(other)
    ]


@pytest.mark.slow
def test_limits_of_operations_and_seconds_end_growth(tmp_path: Path) -> None:
    limited = RUNGS.replace("train_tokens = 100_000", "train_tokens = 100_000\ngpu_seconds = 0.001")
    workshop = build_workshop(tmp_path, plan=limited.replace("rounds = 1", "rounds = 3"))
    workshop.init()
    done = workshop.saint("grow", workshop.registry)
    assert done.returncode == 0, done.stderr
    assert sum(event["event"] == "round_opened" for event in workshop.events()) == 1
    assert "budget.gpu_seconds" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_budget_of_operations_that_trains_nothing_names_the_cheapest(tmp_path: Path) -> None:
    workshop = build_workshop(
        tmp_path, plan=RUNGS.replace("train_tokens = 100_000", "train_tokens = 100_000\ntrain_flops = 10.0")
    )
    workshop.init()
    done = workshop.saint("grow", workshop.registry)
    assert done.returncode == 2
    assert "train_flops" in done.stderr
    assert "Traceback" not in done.stderr
