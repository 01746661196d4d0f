"""Put right what rotted or was lost, from another copy of the registry, which is believed in nothing.

Each entry says what digest the one before it has, and which digests its blobs have. So all that is taken from the copy
is known by its digest before it is read, and nothing else is taken.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint.errors import LedgerError
from saint.registry._ledger import GENESIS, Ledger
from saint.registry._reading import read_file
from saint.registry._registry import Registry
from saint.registry._store import Store

_NUMBER = re.compile(r"[0-9]{9}")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """What was put right, and what could not be."""

    entries: tuple[int, ...]
    """Numbers of the entries that were taken from the copy."""
    blobs: tuple[str, ...]
    """Digests of the blobs that were."""
    problems: tuple[str, ...]
    """What is still wrong, and why."""


def repair(registry: Registry, copy: Path) -> Repair:
    """Take from `copy`, a folder that holds a registry, what is missing or damaged here, if it is what it was.

    What was damaged is put into `trash/`. Entries after the last one that is here are not taken: nothing here says
    that they belong to it.

    Raises:
        StorageError: The disk refused a write.
    """
    other = Store(copy)
    entries, problems = _repair_entries(registry, Ledger(other))
    if problems:
        return Repair(entries=tuple(entries), blobs=(), problems=tuple(problems))
    blobs = []
    for digest in sorted({blob for event in registry.ledger.reread() for blob in event.blobs}):
        try:
            registry.store.check(digest)
        except LedgerError as found:
            if content := _believable(other.blob_path(digest), digest):
                _replace(registry.store, registry.store.blob_path(digest), content)
                blobs.append(digest)
            else:
                problems.append(f"{found}; {copy} does not have it either")
    return Repair(entries=tuple(entries), blobs=tuple(blobs), problems=tuple(problems))


def _repair_entries(registry: Registry, other: Ledger) -> tuple[list[int], list[str]]:
    """From the last entry to the first: each says what the one before it was."""
    taken: list[int] = []
    numbers = [int(file.stem) for file in (registry.folder / "log").glob("*/*.json") if _NUMBER.fullmatch(file.stem)]
    expected = ""
    for number in reversed(range(max(numbers, default=-1) + 1)):
        place = registry.ledger.place(number)
        content = _readable(place)
        if expected and hashlib.sha256(content).hexdigest() != expected:
            content = _believable(other.place(number), expected)
            if not content:
                return taken, [f"{place} is not what it was, and the copy does not have it either; try another copy"]
            _replace(registry.store, place, content)
            taken.append(number)
        try:
            expected = str(json.loads(content)["previous"])
        except (ValueError, LookupError, TypeError, RecursionError):
            problem = f"{place} is damaged, and as it is the last one nothing here says what it was"
            return taken, [f"{problem}; compare it with copies, and put the one there that you believe"]
    if numbers and expected != GENESIS:
        return taken, ["the first entry says that there was one before it; restore the log from a copy"]
    return taken[::-1], list(_broken(registry.ledger))


def _broken(ledger: Ledger) -> Iterator[str]:
    try:
        ledger.reread()
    except LedgerError as error:
        yield str(error)


def _readable(place: Path) -> bytes:
    try:
        return read_file(place)
    except OSError:
        return b""


def _believable(place: Path, digest: str) -> bytes:
    """What the copy has there, if it is what it should be; nothing otherwise."""
    content = _readable(place)
    return content if hashlib.sha256(content).hexdigest() == digest else b""


def _replace(store: Store, place: Path, content: bytes) -> None:
    if place.exists():
        store.discard(place)
    store.create(place, content)
