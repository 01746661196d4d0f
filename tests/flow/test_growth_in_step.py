"""Growth under torchrun: one process is killed, and the same command comes to what one process comes to."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import saint
from saint import config
from saint.growth import Plan, open_data, start
from saint.registry import Registry, verify
from workshop import build_workshop

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "saint.cli"]
OVERRIDES = (
    'controls.after="never"',
    "rounds=1",
    "candidates_per_round=2",
    "schedule.accumulate=2",
    "schedule.num_steps=40",
    "schedule.evaluate_every=20",
)


def begin(root: Path) -> tuple[Registry, Any, Any, Plan]:
    workshop = build_workshop(root)
    base, plan = saint.freeze(workshop.base), config.load(workshop.plan, Plan, overrides=OVERRIDES)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    return registry, base, open_data(registry, plan, base), plan


def ranks_of(process: subprocess.Popen[str]) -> dict[int, int]:
    """Rank -> process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    places = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in map(int, children)}
    return {int(found[1]): pid for pid, place in places.items() if (found := re.search(rb"\0RANK=(\d+)\0", place))}


def outcome(registry: Registry) -> Any:
    """What was trained, and what was judged."""
    state = registry.state
    return (
        {(name, trial["graft"]) for name, trial in state.trained.items()},
        sorted((entry.digest, entry.status) for entry in state.judged),
    )


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_ends_all_and_the_same_command_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    (registry, base, data, plan), (there, *_) = (begin(tmp_path_factory.mktemp(name)) for name in ("alone", "ranks"))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    saint.grow(base, data, plan, registry)
    torch.set_num_threads(num_threads)

    command = [*TORCHRUN, "grow", str(there.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as one:
        assert one.stderr is not None
        while "round 1 of 1" not in one.stderr.readline():
            assert one.poll() is None
        os.kill(ranks_of(one)[1], signal.SIGKILL)
        one.communicate(timeout=100)
    assert one.returncode
    assert not Registry.open(there.folder).state.measured

    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert again.returncode == 0, again.stderr
    there = Registry.open(there.folder)
    assert outcome(there) == outcome(registry)
    assert there.state.standing == registry.state.standing
    assert verify(there).problems == ()
    assert {trial["environment"]["processes"] for trial in there.state.trained.values()} == {2}
