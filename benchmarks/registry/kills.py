"""Processes that write are killed, at named points and at any time; then all that was acknowledged is looked for.

    python -m benchmarks.registry.kills FOLDER NUM_ROUNDS SEED [NUM_OCCURRENCES]

kills a writer at each named point and occurrence, then `NUM_ROUNDS` times three writers at once; prints a JSON object.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.registry.disks import POINTS, Deadly
from saint.registry import Registry, verify
from saint.registry._disk import Disk
from saint.registry._store import Store
from saint.report import Figure

_ROUNDS_PER_REGISTRY = 25
"""Registries that stay short are opened quickly."""


def main() -> None:
    num_occurrences = int(sys.argv[4]) if len(sys.argv) > 4 else 4
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), num_occurrences)))


def figures(folder: Path) -> list[Figure]:
    """Of 13 points four times each, and 25 rounds of three writers."""
    found = measure(folder, 25, 0, 4)
    wrong = ("lost", "problems", "debris")
    return [
        Figure(name="kills", value=found["kills"], target=127, sense="at_least"),
        Figure(name="kills_acknowledged_entries", value=found["acknowledged"], target=100, sense="at_least"),
        *(Figure(name=f"kills_{name}", value=found[name], target=0, sense="at_most") for name in wrong),
    ]


def measure(folder: Path, num_rounds: int, seed: int, num_occurrences: int) -> dict[str, int]:
    """Kill writers, and count what is left."""
    draw, found = random.Random(seed), []
    here = folder / "points"
    found.append(_survives(here, lambda: _kill_at_points(here, draw, num_occurrences)))
    for first in range(0, num_rounds, _ROUNDS_PER_REGISTRY):
        here, num = folder / f"rounds-{first}", min(_ROUNDS_PER_REGISTRY, num_rounds - first)
        found.append(_survives(here, lambda here=here, num=num: _kill_at_any_time(here, draw, num)))  # type: ignore[misc]
    return {key: sum(one[key] for one in found) for key in found[0]}


def _survives(folder: Path, kill: Callable[[], int]) -> dict[str, int]:
    """What a registry is worth after so many kills."""
    Registry.open(folder / "registry")
    num_kills = kill()
    registry = Registry.open(folder / "registry")
    events = registry.ledger.events()
    there = {(event.number, event.digest) for event in events}
    acknowledged = {
        (int(number), digest)
        for file in folder.glob("acknowledged-*")
        for number, digest in (line.split() for line in file.read_text().splitlines())
    }
    return {
        "kills": num_kills,
        "entries": len(events),
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - there),
        "problems": len(verify(registry).problems),
        "debris": sum(not _belongs(file, registry.folder) for file in registry.folder.rglob("*") if file.is_file()),
    }


def _belongs(file: Path, folder: Path) -> bool:
    """Drafts, entries, blobs that are what their name says: not in an entry yet, it may be, but whole."""
    first = file.relative_to(folder).parts[0]
    if first == "blobs":
        return hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    return first in ("tmp", "log") or file.parent == folder


def _kill_at_points(folder: Path, draw: random.Random, num_occurrences: int) -> int:
    num = 0
    for point in POINTS:
        for occurrence in range(1, num_occurrences + 1):
            writer = _begin(folder, Deadly(point, occurrence), num, draw.randrange(1 << 30))
            _, status = os.waitpid(writer, 0)
            assert os.WIFSIGNALED(status), (point, occurrence, status)
            assert os.WTERMSIG(status) == signal.SIGKILL
            num += 1
    return num


def _kill_at_any_time(folder: Path, draw: random.Random, num_rounds: int) -> int:
    num = 0
    for _ in range(num_rounds):
        writers = [_begin(folder, Disk(), num + who, draw.randrange(1 << 30)) for who in range(3)]
        time.sleep(draw.uniform(0.02, 0.12))
        for writer in writers:
            time.sleep(draw.uniform(0.0, 0.01))
            os.kill(writer, signal.SIGKILL)
            _, status = os.waitpid(writer, 0)
            assert os.WIFSIGNALED(status), status
            num += 1
    return num


def _begin(folder: Path, disk: Disk, who: int, seed: int) -> int:
    """A process that writes until it is killed, and says of each entry that it was acknowledged."""
    if process := os.fork():
        return process
    try:
        _write_for_ever(folder, disk, who, random.Random(seed))
    finally:
        os._exit(1)
    raise AssertionError("unreachable")


def _write_for_ever(folder: Path, disk: Disk, who: int, draw: random.Random) -> Any:
    registry = Registry(Store(folder / "registry", disk))
    said = os.open(folder / f"acknowledged-{who}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        contents = [draw.randbytes(draw.choice([10, 1000, 1_500_000]))]
        event = registry.write("noted", {"who": who, "row": draw.random()}, contents=contents)
        os.write(said, f"{event.number} {event.digest}\n".encode())


if __name__ == "__main__":
    main()
