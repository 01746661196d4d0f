"""Put right what rotted or was lost, from another copy of the registry, which is believed in nothing.

Each entry says what digest the one before it has, and which digests its blobs have. So all that is taken from the copy
is known by its digest before it is read, and nothing else is taken.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

from saint.errors import LedgerError, RemoteContentError
from saint.registry._ledger import GENESIS, Ledger
from saint.registry._registry import Registry

_MARKER = "registry.json"
_MOST_BYTES = (8 << 30) - 1


class Copy(Protocol):
    """Another copy of a registry, wherever it is; a remote, without this room knowing any."""

    @property
    def address(self) -> str:
        """For messages."""
        ...

    def get(self, name: str, at_most: int, /) -> bytes:
        """The content of a file, by the name that it has in a registry.

        Raises:
            RemoteContentError: There is none, or it is longer.
            RemoteError: The copy cannot be reached.
        """
        ...


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


def repair(registry: Registry, copy: Copy) -> Repair:
    """Take from a copy what is missing or damaged here, if it is what it was.

    What was damaged is put into `trash/`. Entries after the last one that is here are not taken: nothing here says
    that they belong to it.

    Raises:
        RemoteContentError: There is no registry.
        RemoteError: The copy cannot be reached; what was put right so far stays so.
        StorageError: The disk refused a write.
    """
    copy.get(_MARKER, _MOST_BYTES)
    entries, problems = _repair_entries(registry, copy)
    if problems:
        return Repair(entries=tuple(entries), blobs=(), problems=tuple(problems))
    blobs = []
    for digest in sorted({blob for event in registry.ledger.reread() for blob in event.blobs}):
        try:
            registry.store.check(digest)
        except LedgerError as found:
            if _mend(registry, registry.store.blob_path(digest), digest, copy):
                blobs.append(digest)
            else:
                problems.append(f"{found}; {copy.address} does not have it either")
    return Repair(entries=tuple(entries), blobs=tuple(blobs), problems=tuple(problems))


def _repair_entries(registry: Registry, copy: Copy) -> tuple[list[int], list[str]]:
    """From the last entry to the first: each says what the one before it was."""
    taken: list[int] = []
    numbers = [int(file.stem) for file in (registry.folder / "log").glob("*/*.json") if file.stem.isdigit()]
    expected = ""
    for number in reversed(range(max(numbers, default=-1) + 1)):
        place = registry.ledger.place(number)
        if expected and hashlib.sha256(_readable(place)).hexdigest() != expected:
            if not _mend(registry, place, expected, copy):
                return taken, [f"{place} is not what it was, and the copy does not have it either; try another copy"]
            taken.append(number)
        try:
            expected = str(json.loads(_readable(place))["previous"])
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
        return place.read_bytes()
    except OSError:
        return b""


def _mend(registry: Registry, place: Path, digest: str, copy: Copy) -> bool:
    """Put there what the copy has, if it is what it should be."""
    try:
        content = copy.get(place.relative_to(registry.folder).as_posix(), _MOST_BYTES)
    except RemoteContentError:
        return False
    if hashlib.sha256(content).hexdigest() != digest:
        return False
    if place.exists():
        registry.store.discard(place)
    registry.store.create(place, content)
    return True
