"""Files that appear whole or not at all: blobs named by their SHA-256, and entries that only one writer can win.

A file is written beside its place, flushed to the disk, and then given its name by a hard link, which fails when
the name is taken. That link is the only commit: a process killed at any point leaves at most a file in `tmp/`.
A name is durable once its folder was flushed, and whoever relies on one flushes it, since its giver may have died.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import final

from saint.errors import LedgerError, StorageError
from saint.registry._disk import Disk
from saint.registry._reading import open_file, read_file

_SKELETON = ("blobs", "log", "tmp", "work")
_FOLDERS = (*_SKELETON, "checkpoints", "trash")
_PIECE_BYTES = 1 << 20
_WAYS_OUT = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, then run the command again") | (
    dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable, then run the command again")
)
_ANOTHER_WAY_OUT = "look at the disk with `saint doctor`"


@final
class Store:
    """The folder's files; knows nothing of what they mean."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()
        self._settled: set[Path] = set()
        """Folders whose own names are durable, as this process knows."""

    def make(self) -> None:
        """Create the folder's skeleton."""
        with _disk_may_refuse(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in _SKELETON:
                self._disk.make_folder(self.folder / name)

    def is_bare(self) -> bool:
        """Whether the folder holds nothing, or only its skeleton: whoever made that may have died right after."""
        return self.folder.is_dir() and all(
            inside.name == "tmp" or (inside.name in _SKELETON and inside.is_dir() and not any(inside.iterdir()))
            for inside in self.folder.iterdir()
        )

    def must_not_lead_elsewhere(self) -> None:
        """Refuse links in the place of folders: a registry may come from anybody, and we write and delete in these.

        Those of what lies in `work/` count as well, since it is deleted whole.

        Raises:
            StorageError: There is one.
        """
        folders = [self.folder / name for name in _FOLDERS]
        for place in (*folders, *(self.folder / "blobs").glob("??"), *(self.folder / "work").glob("*")):
            if place.is_symlink():
                raise StorageError(
                    f"{place} is a link, and a registry is written and cleared in folders of its own only; put there "
                    "what it leads to, or move the whole registry"
                )

    def put(self, content: bytes) -> str:
        """Keep `content`; returns its digest. Putting it twice is putting it once.

        Raises:
            StorageError: The disk refused; nothing was half-written.
        """
        digest = hashlib.sha256(content).hexdigest()
        place = self.blob_path(digest)
        with _disk_may_refuse(place):
            is_there = _has(place, digest)
            if not is_there and os.path.lexists(place):
                self._disk.remove(place)  # what had the name did not have the content, or led nowhere
            is_there = is_there and self._keeps(place)
        if is_there or not self.create(place, content):
            self.sync(place.parent)  # another writer's, who may have died before doing so
        return digest

    def get(self, digest: str) -> bytes:
        """The content that has `digest`.

        Raises:
            LedgerError: It is missing, or no longer what it was.
        """
        place = self.blob_path(digest)
        with _must_be_there(place, digest):
            content = read_file(place)
        _must_have(digest, hashlib.sha256(content).hexdigest())
        return content

    def check(self, digest: str) -> int:
        """Read the content that has `digest` in pieces, so that its size does not matter; returns its bytes.

        Raises:
            LedgerError: It is missing, or no longer what it was.
        """
        with _must_be_there(self.blob_path(digest), digest):
            found, num_bytes = _hash(self.blob_path(digest))
        _must_have(digest, found)
        return num_bytes

    def must_have(self, digest: str) -> None:
        """Refuse to do without the content that has `digest`; it is not read.

        Raises:
            LedgerError: It is missing.
        """
        with _must_be_there(self.blob_path(digest), digest):
            self.blob_path(digest).stat()

    def blob_path(self, digest: str) -> Path:
        """Where the content with `digest` lies."""
        return self.folder / "blobs" / digest[:2] / digest

    def create(self, place: Path, content: bytes) -> bool:
        """Write a file that must not exist; False when another writer was first.

        Raises:
            StorageError: The disk refused; nothing was half-written.
        """
        tmp = self.folder / "tmp"
        draft = tmp / f"{place.name}.{secrets.token_hex(8)}"
        with _disk_may_refuse(place):
            self._settle(place.parent)
            self._disk.make_folder(tmp)  # a copy of the registry may lack it
            try:
                self._write(draft, content)
                if not self._commit(draft, place):
                    return False
            finally:
                with contextlib.suppress(OSError):  # a draft that is left does no harm
                    self._disk.remove(draft)
        with _disk_may_not_confirm(place):
            self._disk.sync(place.parent)
        return True

    def sync(self, folder: Path) -> None:
        """Make the names in `folder` durable, and its own: also those that a writer gave who died before doing so."""
        with _disk_may_refuse(folder):
            self._settle(folder)
            self._disk.sync(folder)

    def discard(self, file: Path) -> Path | None:
        """Put a file away into `trash/`, where people may find it; says where it is then, or None if it is gone."""
        trash = self.folder / "trash"
        place = trash / f"{file.name}.{secrets.token_hex(8)}"
        with _disk_may_refuse(place):
            self._settle(trash)
            try:
                self._disk.move(file, place)
            except FileNotFoundError:
                return None
        return place

    def bring_back(self, discarded: Path, place: Path) -> bool:
        """Give a blob in `trash/` its old name again, unless another has it by now; False if it is not that blob."""
        with _disk_may_refuse(place):
            if not _has(discarded, place.name):
                return False
            self._settle(place.parent)
            if not place.exists():
                self._disk.move(discarded, place)
            self._disk.sync(place.parent)
        return True

    def _keeps(self, place: Path) -> bool:
        """Say of a blob that somebody needs it, so that it is not collected before an entry names it."""
        try:
            self._disk.touch(place)
        except FileNotFoundError:
            return False  # it was collected just now
        except PermissionError:
            return True  # another user's, and as old as it was
        return True

    def _settle(self, folder: Path) -> None:
        """Make the folder, and its name and those above it durable; a name that once was stays so."""
        if folder in self._settled and folder.is_dir():
            return
        if folder != self.folder:
            self._settle(folder.parent)
            self._disk.make_folder(folder)
        with contextlib.suppress(PermissionError) if folder == self.folder else contextlib.nullcontext():
            self._disk.sync(folder.parent)  # around the registry others may rule
        self._settled.add(folder)

    def _write(self, draft: Path, content: bytes) -> None:
        descriptor = self._disk.open_draft(draft)
        try:
            left = memoryview(content)
            while left:
                left = left[self._disk.write(descriptor, left[:_PIECE_BYTES]) :]
            self._disk.protect(descriptor)
            self._disk.flush(descriptor)
        finally:
            os.close(descriptor)

    def _commit(self, draft: Path, place: Path) -> bool:
        try:
            self._disk.link(draft, place)
        except OSError as error:
            if draft.stat().st_nlink > 1:  # a network disk may lose its answer and report what it just did as taken
                return True
            if isinstance(error, FileExistsError):
                return False
            raise
        return True


def _hash(place: Path) -> tuple[str, int]:
    """The SHA-256 of a file, and its bytes."""
    with open_file(place) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _has(place: Path, digest: str) -> bool:
    try:
        return _hash(place)[0] == digest
    except FileNotFoundError:
        return False


def _must_have(digest: str, found: str) -> None:
    if found != digest:
        raise LedgerError(f"blob {digest[:12]} was changed: it now hashes to {found[:12]}; restore it from a copy")


@contextlib.contextmanager
def _must_be_there(place: Path, digest: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise LedgerError(f"blob {digest[:12]} is missing from {place.parent}; restore it from a copy") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"blob {digest[:12]} cannot be read ({reason}); restore it from a copy") from error


@contextlib.contextmanager
def _disk_may_refuse(place: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, _ANOTHER_WAY_OUT)
        raise StorageError(f"{place} was not written ({error.strerror or error}); {way_out}") from error


@contextlib.contextmanager
def _disk_may_not_confirm(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place} was written whole, but the disk did not say that it stays ({error.strerror or error}); look with "
            "`saint log` whether it is there, and at the disk with `saint doctor`, before you run the command again"
        ) from error
