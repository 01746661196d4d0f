"""Folders and files that appear whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from saint.errors import BusyError, StorageError


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a draft beside `folder`, which must not exist, and then give it that name.

    Raises:
        StorageError: The disk refused; nothing is left of the draft.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write(draft)
            draft.chmod(0o755)  # a temporary folder is private
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{folder} was not written ({error}); make room or choose another place") from error


def write_file(file: Path, parts: Iterable[bytes]) -> str:
    """Write `parts` to a draft beside `file`, flush it to the disk and then give it that name; returns its SHA-256.

    The draft's name follows from the file's, so that a draft that a killed process left is written over.

    Raises:
        StorageError: The disk refused; `file` is as it was.
    """
    draft = file.with_name(f".{file.name}.draft")
    content = hashlib.sha256()
    try:
        with draft.open("wb") as opened:
            for part in parts:
                content.update(part)
                opened.write(part)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
        flush_folder(file.parent)
    except OSError as error:
        raise StorageError(f"{file} was not written ({error}); make room or choose another place") from error
    return content.hexdigest()


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only process at work in a folder, which is made if it is not there.

    Raises:
        BusyError: Another process is.
        StorageError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made a folder ({error}); choose another place") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"another process is at work in {folder}; wait for it or choose another folder") from error
        yield
    finally:
        os.close(descriptor)
