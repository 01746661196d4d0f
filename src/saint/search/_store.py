"""Results on disk, one file each, named by the digest of everything that decides them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from saint import records
from saint.errors import StorageError


@final
class Store:
    """A folder of finished pieces of work; what is there is not done again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, digest: str) -> dict[str, Any] | None:
        """A result, or None when it is not there (or was cut off by a crash of the machine)."""
        try:
            found: dict[str, Any] = json.loads(self._path(digest).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def write(self, digest: str, result: Any) -> None:
        """Keep a result, whole or not at all, in canonical JSON.

        Raises:
            StorageError: The disk refused.
        """
        self._put(self._path(digest), records.to_canonical(result).encode())

    def once(self, digest: str, work: Callable[[], Any]) -> dict[str, Any]:
        """The result of `work`, from the disk when it was done before."""
        if (found := self.read(digest)) is not None:
            return found
        self.write(digest, work())
        found = self.read(digest)
        assert found is not None  # it was just written
        return found

    def weights(self, digest: str) -> bytes | None:
        """What a run learnt, until it has been measured; None when it is gone."""
        try:
            return self._weights_path(digest).read_bytes()
        except FileNotFoundError:
            return None

    def keep_weights(self, digest: str, content: bytes) -> None:
        """Keep what a run learnt until it has been measured.

        Raises:
            StorageError: The disk refused.
        """
        self._put(self._weights_path(digest), content)

    def forget_weights(self, digest: str) -> None:
        """What a run learnt is not needed any more; its result stays."""
        self._weights_path(digest).unlink(missing_ok=True)

    def checkpoint(self, digest: str) -> Path:
        """Where a run that is under way saves itself."""
        return self._folder / f"{digest}.checkpoint"

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"

    def _weights_path(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"

    def _put(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{path} was not written ({error.strerror}); make room") from error
