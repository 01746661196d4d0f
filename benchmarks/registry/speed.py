"""What an entry costs at the end of a long ledger, and how fast everything is read again."""

import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.registry.disks import Careless
from made_up_history import History
from saint.registry import Registry, verify
from saint.registry._disk import Disk
from saint.registry._store import Store
from saint.report import Figure

_NUM_ENTRIES, _NUM_APPENDS = 10_000, 201
_NUM_BLOBS, _BLOB_BYTES = 10, 50_000_000
_REPEATS = 3


def figures(folder: Path) -> list[Figure]:
    """Of a ledger of 10,000 entries as growth writes them, and of 500 MB of blobs."""
    few, many = _appends((folder / "short", 100), (folder / "long", _NUM_ENTRIES))
    entries = _best(lambda: verify(Registry.open(folder / "long")))
    blobs, sums = _blobs(folder / "blobs")
    return [
        Figure(name="append_milliseconds", value=1000 * many, target=15, sense="at_most"),
        Figure(name="append_at_10000_against_100", value=many / few, target=1.5, sense="at_most"),
        Figure(name="verify_10000_entries_seconds", value=entries, target=5, sense="at_most"),
        Figure(name="verify_500_mb_speed_against_sha256sum", value=sums / blobs, target=0.5, sense="at_least"),
    ]


def _appends(*registries: tuple[Path, int]) -> list[float]:
    """The median of appends after so many entries, in seconds, in turns; the disk is flushed as ever.

    As everything here it is the best of three, since others may use the disk.
    """
    grown = [_grown(folder, num_entries) for folder, num_entries in registries]
    taken: list[list[float]] = [[] for _ in grown]
    for _ in range(_NUM_APPENDS):
        for (registry, history), times in zip(grown, taken, strict=True):
            event = history.next(registry.state)
            started = time.perf_counter()
            registry.write(*event)
            times.append(time.perf_counter() - started)
    for (registry, _), (_, num_entries) in zip(grown, registries, strict=True):
        assert verify(registry).num_entries == num_entries + _NUM_APPENDS
    return [min(map(statistics.median, _blocks(times))) for times in taken]


def _blocks(times: list[float]) -> list[list[float]]:
    num = len(times) // _REPEATS
    return [times[first : first + num] for first in range(0, num * _REPEATS, num)]


def _grown(folder: Path, num_entries: int) -> tuple[Registry, History]:
    """A ledger of so many entries, made quickly, and what goes on with it."""
    history, quick = History(3), Registry(_made(folder, Careless()))
    for _ in range(num_entries):
        quick.write(*history.next(quick.state))
    return Registry(Store(folder, Disk())), history


def _made(folder: Path, disk: Disk) -> Store:
    Registry.open(folder)
    return Store(folder, disk)


def _blobs(folder: Path) -> tuple[float, float]:
    """Seconds of verification and of `sha256sum`, of the same files, in turns."""
    registry, draw = Registry.open(folder), random.Random(0)
    piece = draw.randbytes(1_000_000)
    for number in range(_NUM_BLOBS):
        content = number.to_bytes(8, "big") + piece * (_BLOB_BYTES // len(piece))
        registry.write("noted", {"row": number}, contents=[content])
    files = [str(file) for file in folder.glob("blobs/*/*")]
    program = shutil.which("sha256sum") or "shasum"
    command = [program, *(["-a", "256"] if program == "shasum" else []), *files]
    blobs = _best(lambda: verify(Registry.open(folder)))
    sums = _best(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))  # noqa: S603
    return blobs, sums


def _best(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)
