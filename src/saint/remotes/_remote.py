from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from time import monotonic
from typing import final

from saint.errors import RemoteContentError, RemoteError
from saint.remotes._names import Caps, is_name

PATIENCE = 60.0
"""Seconds that a remote may take before anything comes."""
_SLOWEST = 4096
"""Bytes per second below which, after that, a remote is taken for one that only keeps us waiting."""


class AbsentError(RemoteContentError):
    """A remote has no file of that name."""


class Remote(ABC):
    """A place elsewhere with the files of a registry under the names that they have on disk.

    Nothing that comes from it is believed: names are checked before they are used, sizes while bytes arrive, and
    contents by whoever asked for them.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        """Say where it is.

        Args:
            address: As the user gave it, for messages; it holds no credentials.
            patience: Seconds to wait for anything to come.
        """
        self.address = address
        self.patience = patience

    @final
    def read(self, name: str, at_most: int) -> Iterator[bytes]:
        """The content of a file, piece by piece, cut off after `at_most` bytes.

        Raises:
            AbsentError: There is no such file.
            RemoteContentError: It is longer.
            RemoteError: It does not arrive, or so slowly that it never would.
        """
        assert is_name(name), name
        begun, received = monotonic(), 0
        with closing(self._read(name)) as pieces:
            for piece in pieces:
                received += len(piece)
                if received > at_most:
                    raise RemoteContentError(
                        f"{self.address} sends more than {at_most:,} bytes as {name}; use another copy of the registry"
                    )
                if monotonic() - begun > self.patience + received / _SLOWEST:
                    raise RemoteError(
                        f"{self.address} sent {received:,} bytes of {name} in {monotonic() - begun:.0f} s; run the "
                        "command again when it is faster"
                    )
                yield piece

    @final
    def get(self, name: str, at_most: int) -> bytes:
        """The content of a file of at most `at_most` bytes; it raises what `read` raises."""
        return b"".join(self.read(name, at_most))

    @final
    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not exist; False when there is one, whatever it holds.

        Raises:
            RemoteError: It cannot be written, or the remote would let two writers overwrite each other.
        """
        assert is_name(name), name
        return self._create(name, content)

    @final
    def names(self, folder: str, *, caps: Caps | None = None) -> Iterator[str]:
        """The names of files in `folder`, in no order; what a registry cannot have there is passed over.

        Raises:
            RemoteContentError: There are more than any registry has.
            RemoteError: It cannot be listed.
        """
        most = (caps or Caps()).num_names
        for number, name in enumerate(self._names(folder)):
            if number >= most:
                raise RemoteContentError(f"{self.address} lists more than {most:,} files; use another copy")
            if name.startswith(f"{folder}/") and is_name(name):
                yield name

    def finish(self) -> None:  # noqa: B027 - where `create` is all there is, nothing is left to do
        """Show to others what was created, where that is a step of its own.

        Raises:
            RemoteError: It cannot be done, or somebody else was faster; nothing is shown then.
        """

    @abstractmethod
    def _read(self, name: str) -> Generator[bytes, None, None]:
        """The content of a file, in pieces as they arrive, without end if that is what comes."""

    @abstractmethod
    def _create(self, name: str, content: bytes) -> bool:
        """Write a file that must not exist."""

    @abstractmethod
    def _names(self, folder: str) -> Iterator[str]:
        """What is said to be in the folder."""
