"""Growth with workers that are killed, and a coordinator that is: what is accepted is what is accepted without."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import saint
from saint import config
from saint.data import Splits
from saint.growth import Hands, Plan, brief_for, open_data, opening, start
from saint.models import FrozenBase
from saint.registry import Registry, verify
from saint.search import Processes
from workshop import PLAN, build_workshop

OVERRIDES = (
    'controls.after="never"',
    "rounds=1",
    "schedule.num_steps=24",
    "schedule.evaluate_every=8",
    "candidates_per_round=5",
    "search.rungs=[{at=0.25,keep=0.5},{at=0.5,keep=0.5}]",
    "search.brackets=3",  # the last of which has no rungs
)


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Its worker processes."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


@dataclass
class Begun:
    """A registry that is about to grow, and what it grows from."""

    registry: Registry
    base: FrozenBase
    data: Splits
    plan: Plan


def begin(root: Path) -> Begun:
    workshop = build_workshop(root, plan=PLAN.replace('bundle = "all"', 'bundle = "role"'))
    base, plan = saint.freeze(workshop.base), config.load(workshop.plan, Plan, overrides=OVERRIDES)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    return Begun(registry, base, open_data(registry, plan, base), plan)


def outcome(registry: Registry) -> tuple[set[tuple[str, str, int, str]], list[tuple[str, str]]]:
    """(trial, graft, tokens, why it was stopped) of what was trained, and (graft, status) of what was judged."""
    state = registry.state
    return (
        {(name, it["graft"], it["train_tokens"], it.get("stopped", "")) for name, it in state.trained.items()},
        sorted((entry.digest, entry.status) for entry in state.judged),
    )


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_killed_workers_and_a_killed_coordinator_change_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone, killed = (begin(tmp_path_factory.mktemp(name)) for name in ("alone", "killed"))
    saint.grow(alone.base, alone.data, alone.plan, alone.registry)

    command = [sys.executable, "-m", "saint.cli", "grow", str(killed.registry.folder), "--workers", "2"]
    chance, num_killed = random.Random(0), 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while num_killed < 2 and process.poll() is None:
        if workers := workers_of(process):
            time.sleep(chance.uniform(0.0, 3.0))
            os.kill(chance.choice(workers), signal.SIGKILL)
            num_killed += 1
        time.sleep(0.1)
    process.kill()
    process.communicate()

    registry = Registry.open(killed.registry.folder)
    brief = brief_for(registry, killed.base, killed.plan, num_sharing=1)
    with Hands(registry, brief, Processes(opening(brief)), 1) as hands:
        saint.grow(killed.base, killed.data, killed.plan, registry, workforce=hands)

    assert outcome(registry) == outcome(alone.registry)
    assert registry.state.standing == alone.registry.state.standing
    assert verify(registry).problems == ()
    events = [event for event in registry.ledger.events() if event.name in ("trained", "judged")]
    assert max(Counter((event.name, event.body.get("trial", event.body["graft"])) for event in events).values()) == 1
    assert sum(bool(trial.get("stopped")) for trial in registry.state.trained.values()) == 2
    assert {event.body["agrees"] for event in registry.ledger.events() if event.name == "validated"} == {True}
    assert num_killed >= 1
