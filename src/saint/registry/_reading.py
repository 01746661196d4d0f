"""Reading files that somebody else may have put there: what is no ordinary file is refused, and not waited for."""

import errno
import os
import stat
from io import FileIO
from pathlib import Path


def open_file(place: Path) -> FileIO:
    """Open a file to read it. A pipe would be waited for for ever, and a device has no end.

    Raises:
        OSError: It is not there, is no ordinary file, or cannot be read.
    """
    descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no ordinary file", str(place))
    return FileIO(descriptor, "rb")


def read_file(place: Path, *, at_most: int | None = None) -> bytes:
    """The whole content of a file.

    Args:
        at_most: Bytes; a larger file is not read.

    Raises:
        OSError: It is not there, is no ordinary file, is larger, or cannot be read.
    """
    with open_file(place) as file:
        if at_most is not None and os.fstat(file.fileno()).st_size > at_most:
            raise OSError(errno.EFBIG, f"it has over {at_most:,} bytes", str(place))
        return file.read()
