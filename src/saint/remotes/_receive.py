import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from saint import records
from saint.errors import RemoteContentError, StorageError
from saint.registry import Store

_READ_ONLY = 0o444


def receive(
    store: Store, digest: str, pieces: Iterable[bytes], *, must_be: Callable[[Path, str], object] | None = None
) -> int:
    """Keep what arrives as the content that has `digest`, or keep nothing; returns how many bytes arrived.

    The bytes are never in memory at once: they go to a file beside, are hashed on the way, and get their name only
    when they are what they have to be.

    Args:
        must_be: Is given the file and the digest before that, and raises what `receive` is to raise.

    Raises:
        RemoteContentError: Other bytes arrived.
        StorageError: The disk refused; nothing was half-written.
    """
    place, hashed, num_bytes = store.blob_path(digest), hashlib.sha256(), 0
    with _disk_may_refuse(place):
        (store.folder / "tmp").mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=store.folder / "tmp")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in pieces:  # what the remote raises is not the disk's
                hashed.update(piece)
                num_bytes += len(piece)
                with _disk_may_refuse(place):
                    _write(file.fileno(), piece)
            if hashed.hexdigest() != digest:
                raise RemoteContentError(
                    f"{num_bytes:,} bytes came as blob {digest[:12]} that hash to {hashed.hexdigest()[:12]}; "
                    "use another copy of the registry"
                )
            with _disk_may_refuse(place):
                os.fchmod(file.fileno(), _READ_ONLY)
                os.fsync(file.fileno())
        if must_be is not None:
            must_be(draft, digest)
        with _disk_may_refuse(place):
            _give_name(store, draft, place, digest)
    finally:
        draft.unlink(missing_ok=True)
    return num_bytes


def holds(store: Store, digest: str) -> bool:
    """Whether the content is here already, by its bytes and not by its name."""
    place = store.blob_path(digest)
    return place.exists() and records.file_digest(place) == digest


def _write(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def _give_name(store: Store, draft: Path, place: Path, digest: str) -> None:
    if not place.parent.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        store.sync(place.parent.parent)
    if place.exists() and not holds(store, digest):
        place.unlink(missing_ok=True)  # what had the name did not have the content
    with contextlib.suppress(FileExistsError):  # another process has brought the same bytes
        os.link(draft, place)
    store.sync(place.parent)


@contextlib.contextmanager
def _disk_may_refuse(place: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{place} was not written ({reason}); make room, then run the command again") from error
