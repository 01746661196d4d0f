import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint.errors import ForkError, LedgerError, RemoteContentError, SaintError, StorageError
from saint.progress import Progress, Silent
from saint.registry import Event, Ledger, Registry, Store, replay, verify
from saint.remotes._agreement import must_agree
from saint.remotes._names import Caps, blob_name, entry_name
from saint.remotes._receive import holds, receive
from saint.remotes._remote import Remote
from saint.remotes._survey import Survey, must_share, survey


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


def pull(
    remote: Remote, folder: Path, *, caps: Caps | None = None, progress: Progress | None = None
) -> tuple[Registry, Pulled]:
    """Make `folder` a copy of the registry on `remote`, or bring the registry in it up to date.

    A new registry is checked whole, under another name, before it gets its own. In one that is there, entries are
    added only after all they speak of; nothing of it changes otherwise. A pull that was stopped goes on where it was.

    Raises:
        ForkError: Both sides went on from the same past; nothing is merged.
        RemoteContentError: What came is not what it must be; nothing of it was kept.
        RemoteError: The remote cannot be reached.
        NotARegistryError: The folder holds something else.
    """
    caps, progress = caps or Caps(), progress or Silent()
    found = survey(remote, caps)
    if found is None:
        raise RemoteContentError(f"there is no registry at {remote.address}; `saint push` makes one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        registry = Registry.open(folder)
        with registry.alone():
            return registry, _extend(registry, remote, found, caps, progress)
    return _make(remote, found, folder, caps, progress)


def _make(remote: Remote, found: Survey, folder: Path, caps: Caps, progress: Progress) -> tuple[Registry, Pulled]:
    """Fill a draft beside `folder`, check it, and give it that name; a draft that was left is taken up again."""
    draft = folder.parent / f".{folder.name}.pulling"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        registry = Registry.open(draft)
        with registry.alone():
            pulled = _fill(registry, remote, found, caps, progress)
            if problems := verify(registry).problems:
                _begin_anew(draft)
                raise RemoteContentError(f"what came from {remote.address} does not verify: {problems[0]}")
            draft.rename(folder)
        registry.store.sync(folder.parent)
    except OSError as error:
        if isinstance(error, SaintError):
            raise
        reason = error.strerror or str(error)
        raise StorageError(f"{folder} was not made ({reason}); make room, then run the command again") from error
    return Registry.open(folder, must_exist=True), pulled


def _fill(draft: Registry, remote: Remote, found: Survey, caps: Caps, progress: Progress) -> Pulled:
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


def _extend(registry: Registry, remote: Remote, found: Survey, caps: Caps, progress: Progress) -> Pulled:
    """Bring what the remote has more; entries are the last but for checkpoints, so that they never promise too much."""
    ours = registry.ledger.events()
    num_common = min(len(ours), found.num_entries)
    must_share(lambda number: _entry(registry, number), remote, num_common, caps, here=f"in {registry.folder}")
    staged = _stage(registry, remote, len(ours), found.num_entries, caps, progress)
    notes = _notes(registry, remote, found, caps)
    events = staged.events if staged else ours
    must_agree(events, notes, source=remote.address)
    num_blobs, num_bytes = _fetch_blobs(registry.store, remote, events[len(ours) :], caps, progress)
    if staged:
        _commit(registry, staged.folder, range(len(ours), len(events)), remote)
        shutil.rmtree(staged.folder, ignore_errors=True)
    for name, content in notes.items():
        registry.store.create(registry.folder / name, content)
    return Pulled(
        num_entries=len(events) - len(ours),
        num_blobs=num_blobs,
        num_bytes=num_bytes,
        num_notes=len(notes),
        num_ahead=len(ours) - num_common,
    )


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
    store: Store, remote: Remote, events: Sequence[Event], caps: Caps, progress: Progress
) -> tuple[int, int]:
    names = {digest: blob_name(digest) for event in events for digest in event.blobs}
    num_blobs = num_bytes = 0
    with progress.task("blobs", total=len(names), unit="blobs") as task:
        for digest, name in sorted(names.items()):
            if not holds(store, digest):
                num_bytes += receive(store, digest, remote.read(name, caps.blob))
                num_blobs += 1
            task.advance(1)
    return num_blobs, num_bytes


def _commit(registry: Registry, staged: Path, numbers: range, remote: Remote) -> None:
    if numbers.start:  # an entry that is built upon must be durable, whoever wrote it
        registry.store.sync((registry.folder / entry_name(numbers.start - 1)).parent)
    for number in numbers:
        content = (staged / entry_name(number)).read_bytes()
        if not registry.store.create(registry.folder / entry_name(number), content):
            must_share(lambda at: _entry(registry, at), remote, number + 1, Caps(), here=f"in {registry.folder}")


def _notes(registry: Registry, remote: Remote, found: Survey, caps: Caps) -> dict[str, bytes]:
    """The checkpoints that are not here."""
    return {name: remote.get(name, caps.note) for name in found.notes if not (registry.folder / name).exists()}


def _entry(registry: Registry, number: int) -> bytes:
    return (registry.folder / entry_name(number)).read_bytes()
