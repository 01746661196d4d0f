"""Files that a worker needs, known by their content: found where it works at the same place, or brought there once."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from saint import records
from saint.errors import BaseChangedError, StorageError

CHUNK_BYTES = 8 << 20
"""So much of a file is sent at once."""
_PRIVATE = 0o700
_SPARE_BYTES = 64 << 20  # of a disk, which are left alone


class ParcelFile(NamedTuple):
    """A file of a parcel."""

    name: str
    """Relative to the parcel's folder, with `/`."""
    num_bytes: int
    sha256: str


Fetch = Callable[[str, int], bytes]
"""The bytes of a parcel's file from an offset on, `CHUNK_BYTES` of them or up to its end."""


@final
@dataclass(frozen=True, slots=True)
class Parcel:
    """A folder's files, by their content."""

    folder: str
    """Where they lie for whoever made the parcel; "" where that is not to be looked at."""
    files: tuple[ParcelFile, ...]

    @classmethod
    def of(cls, folder: Path, names: Iterable[str]) -> "Parcel":
        """Read and hash files of a folder.

        Raises:
            StorageError: One cannot be read.
        """
        try:
            files = tuple(
                ParcelFile(name, (folder / name).stat().st_size, records.file_digest(folder / name))
                for name in sorted(names)
            )
        except OSError as error:
            raise StorageError(f"{folder} cannot be read ({error}); workers need what is in it") from error
        return cls(str(folder.resolve()), files)

    @property
    def digest(self) -> str:
        """Of all contents and names; where the folder lies does not matter."""
        return records.digest([list(file) for file in self.files])

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.num_bytes for file in self.files)

    def read(self, name: str, offset: int) -> bytes:
        """The `Fetch` of whoever has the folder; other files of it are not read.

        Raises:
            StorageError: The file is none of the parcel's, or cannot be read.
        """
        if name not in {file.name for file in self.files}:
            raise StorageError(f"{name} is none of the files that workers need")
        try:
            with (Path(self.folder) / name).open("rb") as opened:
                opened.seek(offset)
                return opened.read(CHUNK_BYTES)
        except OSError as error:
            raise StorageError(f"{name} in {self.folder} cannot be read ({error}); it was there before") from error

    def lacking_bytes(self, root: Path) -> int:
        """How much would have to be brought to this machine; sizes are compared, contents are not."""
        places = [root / self.digest, *([Path(self.folder)] if self.folder else [])]
        there = any(_has_sizes(folder, self.files) for folder in places)
        return 0 if there else self.num_bytes

    def settle(self, fetch: Fetch | None, root: Path) -> Path:
        """A folder of this machine that holds the files, each of them hashed.

        That is the parcel's own where this machine sees the same files there, else a folder in `root` with the
        parcel's digest for its name, which is filled by whoever comes first while the others wait.

        Args:
            fetch: Brings what is not here; None where nothing can be brought.
            root: Of this machine; private to its user.

        Raises:
            StorageError: The files are not here and cannot be brought, or the disk refused.
            BaseChangedError: What was brought is something else.
        """
        own = Path(self.folder)
        if self.folder and _has_contents(own, self.files):
            return own
        folder = root / self.digest
        with _alone(root, self.digest):
            if not _has_contents(folder, self.files):
                if fetch is None:
                    raise StorageError(f"{own} does not hold what it held when the work began; leave it alone")
                self._fill(folder, fetch)
        return folder

    def _fill(self, folder: Path, fetch: Fetch) -> None:
        room = shutil.disk_usage(folder.parent).free
        if room < self.num_bytes + _SPARE_BYTES:
            raise StorageError(no_room(folder.parent, self.num_bytes, room))
        try:
            shutil.rmtree(folder, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
            try:
                for file in self.files:
                    _bring(file, draft / file.name, fetch)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{folder} was not written ({error}); make room on that machine") from error


def no_room(folder: Path, num_bytes: int, room: int) -> str:
    """Says that a disk is too small."""
    return (
        f"expected room for {num_bytes / 1e6:,.1f} MB in {folder}, where the base and text are kept for workers, and "
        f"{room / 1e6:,.1f} MB are free; make room, or set TMPDIR to another disk for Ray on that machine"
    )


def node_root() -> Path:
    """Where this machine keeps what was brought to it: in its folder for temporary files, private to the user.

    Raises:
        StorageError: Another user's folder is in the way.
    """
    root = Path(tempfile.gettempdir()) / f"saint-g-{os.getuid()}"
    try:
        root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise StorageError(f"{root} cannot be made a folder ({error}); set TMPDIR to another place") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StorageError(f"{root} can be written by others; remove it, or set TMPDIR to another place")
    return root


def _bring(file: ParcelFile, path: Path, fetch: Fetch) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content, offset = hashlib.sha256(), 0
    with path.open("wb") as opened:
        while offset < file.num_bytes:
            chunk = fetch(file.name, offset)
            if not chunk:
                break
            content.update(chunk)
            opened.write(chunk)
            offset += len(chunk)
    if offset != file.num_bytes or content.hexdigest() != file.sha256:
        raise BaseChangedError(
            f"expected {file.name} with SHA-256 {file.sha256[:12]}, got {content.hexdigest()[:12]}; it was changed "
            "while workers were being given it: leave the base and the text alone, and begin again"
        )


def _has_sizes(folder: Path, files: tuple[ParcelFile, ...]) -> bool:
    try:
        return all((folder / file.name).stat().st_size == file.num_bytes for file in files)
    except OSError:
        return False


def _has_contents(folder: Path, files: tuple[ParcelFile, ...]) -> bool:
    try:
        return _has_sizes(folder, files) and all(
            records.file_digest(folder / file.name) == file.sha256 for file in files
        )
    except OSError:
        return False


@contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    """Wait until nobody else of this machine fills the folder."""
    try:
        descriptor = os.open(root / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{root} cannot be written ({error}); make room on that machine") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
