import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint import records
from saint.errors import ForkError, LedgerError, RemoteContentError, SaintError, StorageError
from saint.progress import Progress, Silent
from saint.registry import Event, Ledger, Memory, Registry, Store, add_pages, public_of, replay, verify
from saint.remotes._agreement import Agreed, as_content, must_agree
from saint.remotes._graft_files import grafts_of, must_be_weights
from saint.remotes._names import MARKER, ORIGIN, Caps, blob_name, entry_name, key_start
from saint.remotes._receive import holds, receive
from saint.remotes._remote import Remote
from saint.remotes._survey import Survey, must_be_called, must_share, survey


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What a pull brought."""

    num_entries: int
    num_blobs: int
    num_bytes: int
    """Of the blobs."""
    num_notes: int
    num_ahead: int
    """Entries that are here and not on the remote."""
    unchecked: tuple[str, ...]
    """What could not be checked; nothing where this machine verified the registry before."""


def pull(
    remote: Remote, folder: Path, *, caps: Caps | None = None, progress: Progress | None = None
) -> tuple[Registry, Pulled]:
    """Make `folder` a copy of the registry on `remote`, or bring the registry in it up to date.

    A new registry is checked whole, under another name, before it gets its own. In one that is there, entries are
    added only after all they speak of; nothing of it changes otherwise. A pull that was stopped goes on where it was.
    What was pulled is remembered outside of it, as `saint verify` does it.

    Raises:
        ForkError: Both sides went on from the same past; nothing is merged.
        CheckpointKeyError: A checkpoint is by somebody who may not sign.
        LedgerError: The registry in `folder` does not verify.
        RemoteContentError: What came is not what it must be, or not what this machine verified before; nothing of it
            was kept.
        RemoteError: The remote cannot be reached.
        NotARegistryError: The folder holds something else.
    """
    caps, progress, memory = caps or Caps(), progress or Silent(), Memory()
    found = survey(remote, caps, memory)
    if found is None:
        raise RemoteContentError(f"there is no registry at {remote.address}; `saint push` makes one")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return _make(remote, found, folder, caps, progress, memory)
    registry = Registry.open(folder, must_exist=True)
    with registry.alone():
        if found.known is None and (problems := verify(registry).problems):
            raise LedgerError(problems[0])
        agreed, pulled = _extend(registry, remote, found, caps, progress)
    _remember(memory, agreed, folder)
    return registry, pulled


def _make(
    remote: Remote, found: Survey, folder: Path, caps: Caps, progress: Progress, memory: Memory
) -> tuple[Registry, Pulled]:
    """Fill a draft beside `folder`, check it, and give it that name; a draft that was left is taken up again."""
    before = memory.recall_place(folder)
    if found.known is None and before not in (None, found.origin):
        raise RemoteContentError(
            f"{folder} held the registry {before} when it was last seen here, and {remote.address} is {found.origin}; "
            "pull it into another folder"
        )
    draft = folder.parent / f".{folder.name}.pulling"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        registry = _begin(draft, found)
        with registry.alone():
            agreed, pulled = _fill(registry, remote, found, caps, progress)
            if problems := verify(registry, anew=True).problems:
                _begin_anew(draft)
                raise RemoteContentError(f"what came from {remote.address} does not verify: {problems[0]}")
            draft.rename(folder)
        Store(folder).sync(folder)
    except OSError as error:
        if isinstance(error, SaintError):
            raise
        reason = error.strerror or str(error)
        raise StorageError(f"{folder} was not made ({reason}); make room, then run the command again") from error
    _remember(memory, agreed, folder)
    return Registry.open(folder, must_exist=True), pulled


def _remember(memory: Memory, agreed: Agreed, folder: Path) -> None:
    """Keep what was verified, once all of it was; a log without a name has no entries either."""
    if agreed.checkpoint.origin:
        memory.remember(agreed.checkpoint, place=folder, keys=agreed.keys)


def _begin(draft: Path, found: Survey) -> Registry:
    """A registry of the same name without entries: this machine is not to remember it as one of its own."""
    store, origin = Store(draft), draft / ORIGIN
    store.make()
    if (draft / MARKER).exists() and (origin.read_bytes() if origin.exists() else b"") != found.origin_file:
        _begin_anew(draft)
        origin.unlink(missing_ok=True)
    store.create(draft / MARKER, records.to_canonical({"format": 1, "hash": "sha256"}).encode())
    if found.origin_file:
        store.create(origin, found.origin_file)
    return Registry.open(draft, must_exist=True)


def _fill(draft: Registry, remote: Remote, found: Survey, caps: Caps, progress: Progress) -> tuple[Agreed, Pulled]:
    try:
        return _extend(draft, remote, found, caps, progress)
    except (ForkError, LedgerError):  # begun from another registry, or broken since; it is nobody's record yet
        _begin_anew(draft.folder)
        return _extend(Registry.open(draft.folder), remote, found, caps, progress)


def _begin_anew(draft: Path) -> None:
    """Take the draft's entries away; blobs stay, they are what they are whoever names them."""
    for place in ("log", "checkpoints"):
        shutil.rmtree(draft / place, ignore_errors=True)
        (draft / place).mkdir()


def _extend(registry: Registry, remote: Remote, found: Survey, caps: Caps, progress: Progress) -> tuple[Agreed, Pulled]:
    """Bring what the remote has more; entries are the last but for checkpoints, so that they never promise too much."""
    ours = registry.ledger.events()
    num_common = min(len(ours), found.num_entries)
    must_share(lambda number: _entry(registry, number), remote, num_common, caps, here=f"in {registry.folder}")
    must_be_called(registry.origin, found, remote, here=str(registry.folder))
    staged = _stage(registry, remote, len(ours), found.num_entries, caps, progress)
    beside = _beside(registry, remote, found, caps)
    events = staged.events if staged else ours
    with as_content():
        agreed = must_agree(
            events,
            {name: content for name, content in beside.items() if name in found.notes},
            origins=found.origins,
            known=found.known,
            payload=_payload(registry.store, remote, caps),
            source=remote.address,
        )
    num_blobs, num_bytes = _fetch_blobs(registry.store, remote, events, events[len(ours) :], caps, progress)
    if staged:
        _commit(registry, staged.folder, range(len(ours), len(events)), remote)
        shutil.rmtree(staged.folder, ignore_errors=True)
    for name, content in beside.items():
        registry.store.create(registry.folder / name, content)
    if found.origin:
        add_pages(registry.store, found.origin)
    pulled = Pulled(
        num_entries=len(events) - len(ours),
        num_blobs=num_blobs,
        num_bytes=num_bytes,
        num_notes=len([name for name in beside if name in found.notes]),
        num_ahead=len(ours) - num_common,
        unchecked=agreed.unchecked,
    )
    return agreed, pulled


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Staged:
    folder: Path
    events: Sequence[Event]


def _stage(registry: Registry, remote: Remote, begin: int, end: int, caps: Caps, progress: Progress) -> _Staged | None:
    """Fetch entries into a log of their own, after ours, and see whether they follow; None where there are none."""
    if end <= begin:
        return None
    folder = registry.work / "pull"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    registry.work.mkdir(exist_ok=True)
    store.make()
    for number in range(begin):
        place = folder / entry_name(number)
        place.parent.mkdir(exist_ok=True)
        os.link(registry.folder / entry_name(number), place)
    with progress.task("entries", total=end - begin, unit="entries") as task:
        for number in range(begin, end):
            store.create(folder / entry_name(number), remote.get(entry_name(number), caps.entry))
            task.advance(1)
    try:
        events = Ledger(store).events()
        replay(events)
    except (LedgerError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = str(error) if isinstance(error, LedgerError) else f"an entry cannot be read: {error!r:.200}"
        raise RemoteContentError(f"the log at {remote.address} does not add up ({said})") from error
    return _Staged(folder=folder, events=events)


def _fetch_blobs(
    store: Store, remote: Remote, events: Sequence[Event], new: Sequence[Event], caps: Caps, progress: Progress
) -> tuple[int, int]:
    """What the new entries name; what any of them calls a graft must be one, whichever entry brings it."""
    grafts = set(grafts_of(new)) & {digest for event in events for digest in event.blobs}
    names = {digest: blob_name(digest) for digest in grafts.union(*(event.blobs for event in new))}
    num_blobs = num_bytes = 0
    with progress.task("blobs", total=len(names), unit="blobs") as task:
        for digest, name in sorted(names.items()):
            must_be = must_be_weights if digest in grafts else None
            if not holds(store, digest):
                num_bytes += receive(store, digest, remote.read(name, caps.blob), must_be=must_be)
                num_blobs += 1
            elif must_be is not None:
                must_be(store.blob_path(digest), digest)
            task.advance(1)
    return num_blobs, num_bytes


def _commit(registry: Registry, staged: Path, numbers: range, remote: Remote) -> None:
    if numbers.start:  # an entry that is built upon must be durable, whoever wrote it
        registry.store.sync((registry.folder / entry_name(numbers.start - 1)).parent)
    for number in numbers:
        content = (staged / entry_name(number)).read_bytes()
        if not registry.store.create(registry.folder / entry_name(number), content):
            must_share(lambda at: _entry(registry, at), remote, number + 1, Caps(), here=f"in {registry.folder}")


def _beside(registry: Registry, remote: Remote, found: Survey, caps: Caps) -> dict[str, bytes]:
    """The checkpoints and public keys that are not here, keys first."""
    names = [name for name in (*found.keys, *found.notes) if not (registry.folder / name).exists()]
    beside = {name: remote.get(name, caps.note) for name in names}
    for name, content in beside.items():
        start = key_start(name)
        if start and ((key := public_of(content)) is None or not hashlib.sha256(key).hexdigest().startswith(start)):
            raise RemoteContentError(f"{name} at {remote.address} is not the key that its name says; use another copy")
    return beside


def _payload(store: Store, remote: Remote, caps: Caps) -> Callable[[str], bytes]:
    """Digest -> content, of blobs that are read before they are kept."""

    def payload(digest: str) -> bytes:
        if holds(store, digest):
            return store.get(digest)
        content = remote.get(blob_name(digest), caps.entry)
        if hashlib.sha256(content).hexdigest() != digest:
            raise RemoteContentError(
                f"{len(content):,} bytes came as blob {digest[:12]} that are another; use another copy"
            )
        return content

    return payload


def _entry(registry: Registry, number: int) -> bytes:
    return (registry.folder / entry_name(number)).read_bytes()
