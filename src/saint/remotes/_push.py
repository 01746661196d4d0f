import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from saint.errors import LedgerError, RemoteContentError
from saint.progress import Progress, Silent
from saint.registry import Event, Registry
from saint.remotes._agreement import must_agree
from saint.remotes._names import MARKER, Caps, blob_name, entry_name, pages
from saint.remotes._remote import Remote
from saint.remotes._survey import must_share, survey


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What a push brought to a remote."""

    num_entries: int
    num_blobs: int
    num_bytes: int
    """Of the blobs."""
    num_notes: int
    num_behind: int
    """Entries that the remote has and this registry has not."""


def push(registry: Registry, remote: Remote, *, caps: Caps | None = None, progress: Progress | None = None) -> Pushed:
    """Bring to `remote` what it does not have: contents first, then entries in order, then checkpoints.

    Nothing on the remote is ever written over. A push that was stopped goes on where it was; what is there under a
    digest that this push brings is read back and compared.

    Raises:
        ForkError: The remote went on from the same past without this registry.
        LedgerError: The registry itself does not verify; see `saint verify`.
        RemoteContentError: The remote holds something else under a name that this push brings.
        RemoteError: The remote cannot be reached, or would let two writers overwrite each other.
    """
    caps, progress = caps or Caps(), progress or Silent()
    events = registry.ledger.reread()
    found = survey(remote, caps)
    if found is None:
        _bring(remote, MARKER, (registry.folder / MARKER).read_bytes())
    num_there = found.num_entries if found else 0
    num_common = min(len(events), num_there)
    must_share(lambda number: entry_of(registry, events[number]), remote, num_common, caps)
    theirs = found.notes if found else ()
    if num_there <= len(events):
        must_agree(events, dict.fromkeys(theirs, b""), source=remote.address)
    num_blobs, num_bytes = _bring_blobs(registry, remote, events[num_common:], progress)
    with progress.task("entries", total=len(events) - num_common, unit="entries") as task:
        for event in events[num_common:]:
            _bring_entry(registry, remote, events, event, caps)
            task.advance(1)
    notes = [name for name in notes_of(registry) if name not in theirs]
    for name in notes:
        _bring(remote, name, (registry.folder / name).read_bytes())
    for name in pages():
        if (registry.folder / name).exists():
            remote.create(name, (registry.folder / name).read_bytes())
    remote.finish()
    return Pushed(
        num_entries=len(events) - num_common,
        num_blobs=num_blobs,
        num_bytes=num_bytes,
        num_notes=len(notes),
        num_behind=num_there - num_common,
    )


def entry_of(registry: Registry, event: Event) -> bytes:
    """The bytes of an entry that was read before; it raises `LedgerError` when they changed since."""
    content = (registry.folder / entry_name(event.number)).read_bytes()
    if hashlib.sha256(content).hexdigest() != event.digest:
        raise LedgerError(f"entry {event.number} changed while it was read; run `saint verify {registry.folder}`")
    return content


def notes_of(registry: Registry) -> Iterator[str]:
    """Names of the registry's checkpoints, oldest first."""
    return (f"checkpoints/{place.name}" for place in sorted((registry.folder / "checkpoints").glob("*.note")))


def _bring_blobs(registry: Registry, remote: Remote, events: Sequence[Event], progress: Progress) -> tuple[int, int]:
    digests = sorted({digest for event in events for digest in event.blobs})
    num_blobs = num_bytes = 0
    with progress.task("blobs", total=len(digests), unit="blobs") as task:
        for digest in digests:
            content = registry.payload(digest)
            if _bring(remote, blob_name(digest), content):
                num_blobs, num_bytes = num_blobs + 1, num_bytes + len(content)
            task.advance(1)
    return num_blobs, num_bytes


def _bring_entry(registry: Registry, remote: Remote, events: Sequence[Event], event: Event, caps: Caps) -> None:
    if not remote.create(entry_name(event.number), entry_of(registry, event)):  # somebody else is pushing too
        must_share(lambda number: entry_of(registry, events[number]), remote, event.number + 1, caps)


def _bring(remote: Remote, name: str, content: bytes) -> bool:
    """Create a file; False when it is there already, with the same content."""
    if remote.create(name, content):
        return True
    if remote.get(name, len(content)) != content:
        raise RemoteContentError(
            f"{remote.address} holds something else as {name}; push to an empty place, or mend it from this registry"
        )
    return False
