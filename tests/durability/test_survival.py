"""Nothing that was acknowledged is lost: not by kills, not by a failing disk, not by many writers at once."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.registry.disks import Slow
from benchmarks.registry.power import forget, opens, search, settle_what_is_new, states, tell, violation
from benchmarks.registry.refusals import NUMBERS, refusals
from saint.registry import Registry, verify
from saint.registry._store import Store

ROOT = Path(__file__).parents[2]


def measured(module: str, *arguments: object) -> dict[str, int]:
    """What a module of the benchmark counts, in a process of its own: it forks."""
    command = [sys.executable, "-m", f"benchmarks.registry.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    found = measured("kills", tmp_path, 25, 0)
    assert found["kills"] == 13 * 4 + 25 * 3
    assert found["acknowledged"] > 50
    assert (found["lost"], found["problems"], found["debris"]) == (0, 0, 0)


@pytest.mark.by_hand
def test_two_thousand_kills_lose_nothing(tmp_path: Path) -> None:
    found = measured("kills", tmp_path, 650, 1)
    assert found["kills"] == 13 * 4 + 650 * 3
    assert (found["lost"], found["problems"], found["debris"]) == (0, 0, 0)


@pytest.mark.slow
def test_power_that_fails_loses_nothing(tmp_path: Path) -> None:
    found = search(tmp_path, num_stories=60, per_call=4)
    assert found.pop("states") >= 40_000
    assert found.pop("acknowledged") > 500
    assert found == {}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [({"sync": forget}, "gap in the log"), ({"_settle": settle_what_is_new}, "an acknowledged entry lost")],
    ids=["the folder of the entry before is not flushed", "a folder that another made is not flushed"],
)
def test_the_model_notices_faults(tmp_path: Path, fault: Any, seen: str) -> None:
    assert search(tmp_path, num_stories=20, per_call=4, careless=fault)[seen] > 0


def test_what_a_power_loss_leaves_is_opened_and_written_on(tmp_path: Path) -> None:
    draw, story = random.Random(3), tell(tmp_path / "story", 5)
    left = [one for one in states(story, draw, 1) if story.folder / "registry.json" in one[1]]
    for number, (num_calls, files) in enumerate(draw.sample(left, 40)):
        assert violation(story, num_calls, files) == ""
        assert opens(story, tmp_path / f"state-{number}", files) == ""


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_disk_that_refuses_at_any_call_leaves_all_or_nothing(tmp_path: Path, number: int, *, for_good: bool) -> None:
    found = list(refusals(tmp_path, number, for_good=for_good))
    assert {step for step, _ in found} == {
        "made", "opened", "written", "protected", "flushed", "linked", "removed", "synced",
    }  # fmt: skip
    assert [wrong for _, wrong in found if wrong] == []


def test_a_disk_may_take_a_few_bytes_at_a_time(tmp_path: Path) -> None:
    Registry.open(tmp_path)
    registry, content = Registry(Store(tmp_path, Slow())), random.Random(0).randbytes(1000)
    [blob] = registry.write("noted", {}, contents=[content]).blobs
    assert Registry.open(tmp_path).payload(blob) == content
    assert verify(registry).problems == ()


@pytest.mark.slow
def test_eight_writers_leave_two_thousand_entries(tmp_path: Path) -> None:
    found = measured("writers", tmp_path, 8, 250)
    assert found == {"entries": 2000, "once": 2000, "out_of_order": 0, "failed": 0, "problems": 0}
