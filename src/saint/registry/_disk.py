"""What a store asks of the operating system."""

import fcntl
import os
from pathlib import Path

_READ_ONLY = 0o444


class Disk:
    """One call for each thing that a crash may come before or after, and that a disk may refuse.

    Nothing is durable before it is flushed: a file's content by `flush`, a name in a folder by `sync`. Tests put a
    disk here that dies, refuses, or writes down what it was asked.
    """

    def make_folder(self, folder: Path) -> None:
        """Make a folder, unless it is there."""
        folder.mkdir(exist_ok=True)

    def open_draft(self, draft: Path) -> int:
        """Begin a file that is not there; gives its descriptor."""
        return os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, descriptor: int, content: memoryview) -> int:
        """Write the beginning of `content` at least; says how much it was."""
        return os.write(descriptor, content)

    def protect(self, descriptor: int) -> None:
        """Let nobody change the file by mistake."""
        os.fchmod(descriptor, _READ_ONLY)

    def flush(self, descriptor: int) -> None:
        """Make the content durable."""
        _flush(descriptor)

    def link(self, draft: Path, place: Path) -> None:
        """Give a file a second name, which must not be taken."""
        os.link(draft, place)

    def sync(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, file: Path) -> None:
        """Take a name away."""
        file.unlink()

    def move(self, file: Path, place: Path) -> None:
        """Give a file another name on the same disk."""
        file.rename(place)

    def touch(self, file: Path) -> None:
        """Make a file as young as if it had just been written."""
        os.utime(file)


def _flush(descriptor: int) -> None:
    full_flush = getattr(fcntl, "F_FULLFSYNC", None)  # on macOS fsync leaves it in the drive's memory
    if full_flush is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full_flush)
