"""Files that appear whole or not at all: blobs named by their SHA-256, and entries that only one writer can win.

A file is written beside its place, flushed to the disk, and then given its name by a hard link, which fails when
the name is taken. That link is the only commit: a process killed at any point leaves at most a file in `tmp/`.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import final

from saint.errors import LedgerError, StorageError

_READ_ONLY = 0o444
_SKELETON = ("blobs", "log", "tmp", "work")


@final
class Store:
    """The folder's files; knows nothing of what they mean."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Create the folder's skeleton."""
        with _disk_may_refuse(self.folder):
            for name in _SKELETON:
                (self.folder / name).mkdir(parents=True, exist_ok=True)

    def is_bare(self) -> bool:
        """Whether the folder holds nothing, or only its skeleton: whoever made that may have died right after."""
        return self.folder.is_dir() and all(
            inside.name == "tmp" or (inside.name in _SKELETON and inside.is_dir() and not any(inside.iterdir()))
            for inside in self.folder.iterdir()
        )

    def put(self, content: bytes) -> str:
        """Keep `content`; returns its digest. Putting it twice is putting it once.

        Raises:
            StorageError: The disk refused; nothing was half-written.
        """
        digest = hashlib.sha256(content).hexdigest()
        place = self.blob_path(digest)
        with _disk_may_refuse(place):
            if place.exists():
                if hashlib.sha256(place.read_bytes()).hexdigest() == digest:
                    return digest
                place.unlink(missing_ok=True)  # what had the name did not have the content
            self.create(place, content)
        return digest

    def get(self, digest: str) -> bytes:
        """The content that has `digest`.

        Raises:
            LedgerError: It is missing, or no longer what it was.
        """
        place = self.blob_path(digest)
        try:
            content = place.read_bytes()
        except FileNotFoundError as error:
            raise LedgerError(f"blob {digest[:12]} is missing from {place.parent}; restore it from a copy") from error
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise LedgerError(f"blob {digest[:12]} was changed: it now hashes to {found[:12]}; restore it from a copy")
        return content

    def blob_path(self, digest: str) -> Path:
        """Where the content with `digest` lies."""
        return self.folder / "blobs" / digest[:2] / digest

    def create(self, place: Path, content: bytes) -> bool:
        """Write a file that must not exist; False when another writer was first.

        Raises:
            StorageError: The disk refused; nothing was half-written.
        """
        with _disk_may_refuse(place):
            if not place.parent.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                _sync_folder(place.parent.parent)
            (self.folder / "tmp").mkdir(exist_ok=True)  # a copy of the registry may lack it
            descriptor, name = tempfile.mkstemp(dir=self.folder / "tmp")
            draft = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                draft.chmod(_READ_ONLY)
                try:
                    os.link(draft, place)
                except FileExistsError:
                    return draft.stat().st_nlink > 1  # a network disk may report the link it just made as taken
                _sync_folder(place.parent)
            finally:
                draft.unlink(missing_ok=True)
        return True

    def sync(self, folder: Path) -> None:
        """Make the names in `folder` durable, also those that a writer gave who died before doing so."""
        with _disk_may_refuse(folder):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_may_refuse(place: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{place} was not written ({reason}); make room, then run the command again") from error
