"""Folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from saint.errors import StorageError


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
