"""Blobs that no entry names are put into `trash/`, after a time in which their writer may still name them."""

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint.registry._registry import Registry

_DIGEST = re.compile(r"[0-9a-f]{64}")
COLLECTED = "blobs_collected"
"""Name of the entry that says what was put away."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What was put away, or would be."""

    blobs: tuple[str, ...]
    num_bytes: int
    num_drafts: int
    """Files in `tmp/` that were left by processes that died."""
    restored: tuple[str, ...]
    """Blobs in the trash that an entry names after all, and that are in their place again."""


def collect(registry: Registry, *, grace_seconds: float, dry_run: bool = False) -> Collection:
    """Put blobs away that no entry names; an entry says which, and it is written first.

    Args:
        grace_seconds: What is younger stays: its writer may be about to name it.

    Raises:
        LedgerError: The ledger does not verify, so that it is not known what it names.
        StorageError: The disk refused a write.
    """
    registry.store.must_not_lead_elsewhere()
    named = _named(registry)
    oldest = time.time() - grace_seconds
    unnamed = {
        file: seen for file in _blobs(registry.folder / "blobs") if file.name not in named and (seen := _seen(file))
    }
    found = [file for file, seen in unnamed.items() if seen.st_mtime < oldest]
    num_bytes = sum(unnamed[file].st_size for file in found)
    drafts = [file for file in (registry.folder / "tmp").glob("*") if (seen := _seen(file)) and seen.st_mtime < oldest]
    restored: tuple[str, ...] = ()
    if not dry_run:
        restored = _restore(registry, named)
        if found:
            body = {"blobs": [file.name for file in found], "num_bytes": num_bytes}
            registry.write(COLLECTED, body)
        _put_away(registry, found, oldest)
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return Collection(
        blobs=tuple(file.name for file in found), num_bytes=num_bytes, num_drafts=len(drafts), restored=restored
    )


def _put_away(registry: Registry, found: list[Path], oldest: float) -> None:
    for file in found:
        discarded = registry.store.discard(file)
        if discarded is None:
            continue  # another collection was faster
        seen = _seen(discarded)
        if seen and seen.st_mtime >= oldest:  # somebody came to need it just before it was moved
            registry.store.bring_back(discarded, file)
    _restore(registry, _named(registry))


def _restore(registry: Registry, named: frozenset[str]) -> tuple[str, ...]:
    """Bring back what is named after all: a collection may have died before it could."""
    restored = []
    for discarded in (registry.folder / "trash").glob("*"):
        digest = discarded.name.partition(".")[0]
        place = registry.store.blob_path(digest)
        if digest in named and not place.exists() and registry.store.bring_back(discarded, place):
            restored.append(digest)
    return tuple(restored)


def _named(registry: Registry) -> frozenset[str]:
    return frozenset(blob for event in registry.ledger.reread() for blob in event.blobs)


def _blobs(folder: Path) -> Iterator[Path]:
    """Files that have a blob's name, in a blob's place; others are not the registry's."""
    return (
        file
        for file in sorted(folder.glob("*/*"))
        if _DIGEST.fullmatch(file.name) and file.name[:2] == file.parent.name
    )


def _seen(file: Path) -> os.stat_result | None:
    """What the disk says of an ordinary file, with when it was written or needed again; None if it is none any more."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None
