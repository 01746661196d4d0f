"""What a person keeps outside every registry: keys, which keys they trust, and what was verified."""

import os
import tempfile
from pathlib import Path

from saint.errors import StorageError

_PRIVATE = 0o700


def home() -> Path:
    """The folder `$SAINT_HOME`, or `.saint-g` in the home folder; it has `keys/`, `trust/` and `seen/`."""
    chosen = os.environ.get("SAINT_HOME")
    return Path(chosen).expanduser() if chosen else Path.home() / ".saint-g"


def create_file(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Write a file that must not exist, whole or not at all; False where it exists.

    Raises:
        StorageError: The disk refused.
    """
    try:
        draft = _draft(path, content, mode)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    return True


def replace_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file in the place of what is there: a reader finds the old one or the new one, whole.

    Raises:
        StorageError: The disk refused; what was there is there still.
    """
    try:
        _draft(path, content, mode).replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _refused(path, error) from error


def _draft(path: Path, content: bytes, mode: int) -> Path:
    """The content beside its place, on the disk; readable by its owner only from the first moment on."""
    path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"{path} was not written ({reason}); make room, or name another folder by SAINT_HOME")
