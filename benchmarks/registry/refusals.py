"""A disk that refuses, at every call of a write: all is there or nothing, somebody is told, and writing goes on."""

import errno
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.registry.disks import Refusing, Watched
from saint.errors import StorageError
from saint.registry import Registry, verify
from saint.registry._store import Store
from saint.report import Figure

NUMBERS = (errno.ENOSPC, errno.EIO)


def figures(folder: Path) -> list[Figure]:
    """Of every call, for each error, once and for good."""
    found = [one for number in NUMBERS for once in (True, False) for one in refusals(folder, number, for_good=not once)]
    wrong = sum(bool(problem) for _, problem in found)
    return [
        Figure(name="refused_calls", value=len(found), target=60, sense="at_least"),
        Figure(name="refused_calls_half_done", value=wrong, target=0, sense="at_most"),
    ]


def refusals(folder: Path, number: int, *, for_good: bool) -> Iterator[tuple[str, str]]:
    """Let a write fail at each of its calls in turn; says which it was, and what was wrong then, "" for nothing.

    Args:
        number: Of the error.
        for_good: All calls after it fail as well.
    """
    for call in count(1):
        disk = Refusing(call, number, for_good=for_good)
        wrong = _refused(folder / f"{number}-{for_good}-{call}", disk)
        if not disk.refused:
            return
        yield disk.refused[0], wrong


def _refused(folder: Path, disk: Refusing) -> str:
    Registry.open(folder).write("noted", {"row": 0}, contents=[b"before"])
    registry, said = Registry(Store(folder, disk)), ""
    try:
        registry.write("noted", {"row": 1}, contents=[b"refused"])
    except StorageError as error:
        said = str(error)
    rows = [event.body["row"] for event in Registry.open(folder).ledger]
    if not said and rows != [0, 1]:
        return "nobody was told"
    if said and rows != ([0, 1] if "was written whole, but" in said and "log" in said.split(" was ")[0] else [0]):
        return f"it was said that {said}, and there is {rows}"
    if list(folder.glob("tmp/*")) and "removed" not in disk.refused:
        return "a draft was left"
    registry.store._disk = Watched()  # the disk is well again
    registry.write("noted", {"row": 2}, contents=[b"refused", b"after"])
    found = verify(Registry.open(folder))
    return "; ".join(found.problems) or ("" if found.num_entries == len(rows) + 1 else "the next entry is missing")
