import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from saint.errors import LedgerError, RemoteContentError
from saint.progress import Progress, Silent
from saint.registry import Event, Registry, Remembered, names_in
from saint.remotes._agreement import as_content, must_agree
from saint.remotes._names import MARKER, ORIGIN, Caps, blob_name, entry_name, key_start, number_of, pages
from saint.remotes._remote import Remote
from saint.remotes._survey import Survey, must_be_called, must_share, survey


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
        LedgerError: The registry itself does not verify, or is not what was verified here; see `saint verify`.
        CheckpointKeyError: A checkpoint, here or there, is by somebody who may not sign.
        RemoteContentError: The remote holds something else under a name that this push brings, or lost entries.
        RemoteError: The remote cannot be reached, or would let two writers overwrite each other.
    """
    caps, progress = caps or Caps(), progress or Silent()
    here = _read(registry)
    found = survey(remote, caps, registry.seal.memory)
    num_there = found.num_entries if found else 0
    num_common = min(len(here.events), num_there)
    if found is not None:
        _must_go_on(registry, here, remote, found, caps)
    for name in here.names:
        _bring(remote, name, _content(registry, name))
    num_blobs, num_bytes = _bring_blobs(registry, remote, here.events[num_common:], progress)
    with progress.task("entries", total=len(here.events) - num_common, unit="entries") as task:
        for event in here.events[num_common:]:
            _bring_entry(registry, remote, here.events, event, caps)
            task.advance(1)
    there = (*found.keys, *found.notes) if found else ()
    brought = [name for name in here.beside if name not in there]
    for name in brought:
        _bring(remote, name, _content(registry, name))
    for name in pages():
        if (registry.folder / name).exists():
            remote.create(name, _content(registry, name))
    remote.finish()
    return Pushed(
        num_entries=len(here.events) - num_common,
        num_blobs=num_blobs,
        num_bytes=num_bytes,
        num_notes=sum(number_of(name) is not None for name in brought),
        num_behind=num_there - num_common,
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Here:
    """What this registry has, checked."""

    events: Sequence[Event]
    names: tuple[str, ...]
    """Of the files that say what it is."""
    origins: Sequence[str]
    beside: tuple[str, ...]
    """Names of its checkpoints and of the public keys beside them."""
    known: Remembered | None
    """What this machine remembers of it, from before it was read."""


def _read(registry: Registry) -> _Here:
    known = registry.seal.memory.recall(registry.origin)  # first: others append meanwhile, and remember that
    events = registry.ledger.reread()
    names = names_of(registry)
    here = _Here(
        events=events,
        names=names,
        origins=names_in(_content(registry, ORIGIN)) if ORIGIN in names else [registry.origin] if events else [],
        beside=tuple(beside_of(registry)),
        known=known,
    )
    notes = {name: _content(registry, name) for name in here.beside if number_of(name) is not None}
    _must_agree(registry, here, notes, str(registry.folder))
    return here


def _must_go_on(registry: Registry, here: _Here, remote: Remote, found: Survey, caps: Caps) -> None:
    """Check that what is there is a beginning of this registry, or the other way round."""
    num_common = min(len(here.events), found.num_entries)
    must_share(lambda number: entry_of(registry, here.events[number]), remote, num_common, caps)
    must_be_called(registry.origin, found, remote, here=str(registry.folder))
    strange = {name for name in found.notes if (number_of(name) or 0) <= len(here.events)} - set(here.beside)
    with as_content():
        _must_agree(registry, here, {name: remote.get(name, caps.note) for name in strange}, remote.address)


def _must_agree(registry: Registry, here: _Here, notes: Mapping[str, bytes], source: str) -> None:
    must_agree(
        here.events,
        notes,
        origins=here.origins,
        known=here.known,
        payload=registry.payload,
        source=source,
        may_be_behind=True,
    )


def entry_of(registry: Registry, event: Event) -> bytes:
    """The bytes of an entry that was read before; it raises `LedgerError` when they changed since."""
    content = (registry.folder / entry_name(event.number)).read_bytes()
    if hashlib.sha256(content).hexdigest() != event.digest:
        raise LedgerError(f"entry {event.number} changed while it was read; run `saint verify {registry.folder}`")
    return content


def names_of(registry: Registry) -> tuple[str, ...]:
    """Names of the files that say what the registry is; one from before registries had names has only the first."""
    return tuple(name for name in (MARKER, ORIGIN) if name == MARKER or (registry.folder / name).exists())


def beside_of(registry: Registry) -> Iterator[str]:
    """Names of the public keys and of the checkpoints, keys first and these oldest first."""
    places = sorted((registry.folder / "checkpoints").glob("*"), key=lambda place: (place.suffix != ".pem", place.name))
    names = (f"checkpoints/{place.name}" for place in places)
    return (name for name in names if key_start(name) or number_of(name) is not None)


def _content(registry: Registry, name: str) -> bytes:
    return (registry.folder / name).read_bytes()


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
