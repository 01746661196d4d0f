import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import final

from typing_extensions import override

from saint.errors import RemoteContentError, RemoteError
from saint.registry import Store
from saint.remotes._remote import AbsentError, Remote

_PIECE_BYTES = 1 << 20


@final
class FolderRemote(Remote):
    """A folder: on a stick, on a network disk, or another registry.

    It is written by the registry's own store and not through fsspec, whose `mode="create"` looks whether a local file
    is there and then writes over it: two writers would both win, and a killed one would leave half a file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._store = Store(folder)

    @override
    def _read(self, name: str) -> Generator[bytes, None, None]:
        try:  # a pipe or a link in the folder of somebody else is neither waited for nor followed
            descriptor = os.open(self._store.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AbsentError(f"{self.address} has no {name}; use another copy of the registry") from error
        except OSError as error:
            raise RemoteError(f"{self.address}/{name} cannot be read ({error.strerror}); use another copy") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RemoteContentError(f"{self.address}/{name} is not a file; use another copy of the registry")
        with os.fdopen(descriptor, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    @override
    def _create(self, name: str, content: bytes) -> bool:
        self._store.make()
        return self._store.create(self._store.folder / name, content)

    @override
    def _names(self, folder: str) -> Iterator[str]:
        root = self._store.folder
        pattern = "*/*" if folder in ("blobs", "log") else "*"
        return (path.relative_to(root).as_posix() for path in (root / folder).glob(pattern))
