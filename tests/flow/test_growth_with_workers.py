"""Growth with workers that are killed, and a coordinator that is: what is accepted is what is accepted without."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import saint
from saint import config
from saint.growth import Plan, open_data
from saint.registry import Registry, verify
from workshop import Workshop, build_workshop

OVERRIDES = ('controls.after="never"', "rounds=1", "schedule.num_steps=200", "schedule.evaluate_every=20")


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Its worker processes."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


def begun(workshop: Workshop) -> None:
    sets = [part for override in OVERRIDES for part in ("--set", override)]
    made = workshop.saint("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan, *sets)
    assert made.returncode == 0, made.stderr


def outcome(registry: Registry) -> tuple[set[tuple[str, str]], list[tuple[str, str]]]:
    """(trial, graft) of what was trained, and (graft, status) of what was judged."""
    state = registry.state
    return (
        {(name, trial["graft"]) for name, trial in state.trained.items()},
        sorted((entry.digest, entry.status) for entry in state.judged),
    )


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_killed_workers_and_a_killed_coordinator_change_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone, killed = (build_workshop(tmp_path_factory.mktemp(name)) for name in ("alone", "killed"))
    begun(alone)
    registry = Registry.open(alone.registry)
    base = saint.freeze(alone.base)
    plan = config.build(registry.state.created["plan"], Plan, where="ledger")
    saint.grow(base, open_data(registry, plan, base), plan, registry)

    begun(killed)
    command = [sys.executable, "-m", "saint.cli", "grow", str(killed.registry), "--workers", "2"]
    chance, num_killed = random.Random(0), 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while num_killed < 3 and process.poll() is None:
        if workers := workers_of(process):
            time.sleep(chance.uniform(0.0, 3.0))
            os.kill(chance.choice(workers), signal.SIGKILL)
            num_killed += 1
        time.sleep(0.1)
    process.kill()
    process.communicate()
    again = killed.saint("grow", killed.registry, "--workers", "1")
    assert again.returncode == 0, again.stderr

    found = Registry.open(killed.registry)
    assert outcome(found) == outcome(registry)
    assert found.state.standing == registry.state.standing
    assert verify(found).problems == ()
    events = [event for event in found.ledger.events() if event.name in ("trained", "judged")]
    assert max(Counter((event.name, event.body.get("trial", event.body["graft"])) for event in events).values()) == 1
    assert num_killed >= 1
