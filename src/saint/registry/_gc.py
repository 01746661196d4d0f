"""Blobs that no entry names are put into `trash/`, after a time in which their writer may still name them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint.registry._registry import Registry

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
    named = _named(registry)
    oldest = time.time() - grace_seconds
    found = [file for file in _files(registry.folder / "blobs") if file.name not in named and _age(file) < oldest]
    drafts = [file for file in (registry.folder / "tmp").glob("*") if file.is_file() and _age(file) < oldest]
    num_bytes = sum(file.stat().st_size for file in found)
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
        if _age(discarded) >= oldest:  # somebody came to need it just before it was moved
            registry.store.bring_back(discarded, file)
    _restore(registry, _named(registry))


def _restore(registry: Registry, named: frozenset[str]) -> tuple[str, ...]:
    """Bring back what is named after all: a collection may have died before it could."""
    restored = []
    for discarded in (registry.folder / "trash").glob("*"):
        digest = discarded.name.partition(".")[0]
        place = registry.store.blob_path(digest)
        if digest in named and not place.exists():
            registry.store.bring_back(discarded, place)
            restored.append(digest)
    return tuple(restored)


def _named(registry: Registry) -> frozenset[str]:
    return frozenset(blob for event in registry.ledger.reread() for blob in event.blobs)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("*/*")) if file.is_file())


def _age(file: Path) -> float:
    """When it was written, or needed again."""
    return file.stat().st_mtime
