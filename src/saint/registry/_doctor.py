"""Whether a disk can hold a registry: tried out, not guessed."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, final

from saint.errors import SaintError
from saint.registry._disk import Disk
from saint.registry._registry import Registry

_LEAST_FREE_BYTES = 1 << 28
_MOUNTS = Path("/proc/self/mounts")
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "glusterfs", "afs", "lustre")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """About one thing that a registry needs."""

    what: str
    result: Literal["ok", "problem", "unknown"]
    said: str


def examine(registry: Registry) -> list[Finding]:
    """Try out what a registry needs of its disk and its machine. What cannot be tried is said to be unknown."""
    probes: Mapping[str, Callable[[Registry], tuple[Literal["ok", "problem", "unknown"], str]]] = {
        "permissions": _permissions,
        "hard links": _links,
        "flushing": _flushing,
        "free space": _space,
        "clock": _clock,
        "network disk": _network,
    }
    found = []
    for what, probe in probes.items():
        try:
            result, said = probe(registry)
        except (OSError, ValueError, SaintError) as error:
            result, said = "unknown", f"it could not be tried: {error}"
        found.append(Finding(what=what, result=result, said=said))
    return found


def _permissions(registry: Registry) -> tuple[Literal["ok", "problem"], str]:
    folders = [registry.folder, *(registry.folder / name for name in ("blobs", "log", "tmp"))]
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return "problem", f"{folder} may not be written by you: the registry can be read only"
    return "ok", "you may read and write"


def _links(registry: Registry) -> tuple[Literal["ok", "problem"], str]:
    with _draft(registry) as draft:
        other = draft.with_suffix(".second")
        try:
            os.link(draft, other)
        except OSError as error:
            return "problem", f"this disk makes none ({error.strerror}), so nothing can be written; use another disk"
        try:
            os.link(draft, other)
        except FileExistsError:
            return "ok", "a name that is taken is refused, so two writers never take the same entry"
        finally:
            other.unlink()
        return (
            "problem",
            "this disk lets a taken name be taken again, so writers can lose entries; use another disk",
        )


def _flushing(registry: Registry) -> tuple[Literal["ok", "problem"], str]:
    disk = Disk()
    with _draft(registry) as draft:
        descriptor = os.open(draft, os.O_WRONLY)
        try:
            disk.flush(descriptor)
            disk.sync(draft.parent)
        except OSError as error:
            return "problem", f"this disk does not flush ({error.strerror}), so power that fails can lose entries"
        finally:
            os.close(descriptor)
    return "ok", "files and folders are flushed when asked; whether the drive tells the truth cannot be seen from here"


def _space(registry: Registry) -> tuple[Literal["ok", "problem"], str]:
    free = shutil.disk_usage(registry.folder).free
    return "problem" if free < _LEAST_FREE_BYTES else "ok", f"{free / 1e9:,.1f} GB are free"


def _clock(registry: Registry) -> tuple[Literal["ok", "problem", "unknown"], str]:
    events, now = registry.ledger.events(), datetime.now(UTC)
    if not events:
        return "unknown", "there is no entry to compare it with"
    last = datetime.fromisoformat(events[-1].time)
    if last > now + timedelta(minutes=5):
        return "problem", f"it shows {now:%Y-%m-%d %H:%M}, before the last entry ({last:%Y-%m-%d %H:%M}); set it"
    return "ok", "it shows a time after the last entry's; the order of entries does not depend on it"


def _network(registry: Registry) -> tuple[Literal["ok", "problem", "unknown"], str]:
    if not _MOUNTS.exists():
        return "unknown", "this system does not say what kind of disk this is"
    place, kind = registry.folder.resolve(), ""
    mounts = [line.split()[1:3] for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    for where, what in sorted(mounts, key=lambda mount: len(mount[0])):
        if place.is_relative_to(where.replace("\\040", " ")):
            kind = what
    if kind.startswith(_REMOTE):
        return (
            "unknown",
            f"it is one ({kind}): whether what is flushed survives its server cannot be tried here",
        )
    return "ok", f"it is a local one ({kind})"


@contextlib.contextmanager
def _draft(registry: Registry) -> Iterator[Path]:
    draft = registry.folder / "tmp" / f"doctor.{secrets.token_hex(8)}"
    draft.write_bytes(b"to try the disk")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
