import os
import stat
from pathlib import Path

from saint.errors import GraftFileError
from saint.weights._caps import Caps


def read_weights(path: Path, *, caps: Caps | None = None) -> bytes:
    """The bytes of a file, read once: what is hashed, checked and used are the same ones, whoever changes the file.

    Raises:
        GraftFileError: It is no ordinary file, is larger than the cap, or changes while it is read.
        OSError: It is not there, or cannot be read.
    """
    most = (caps or Caps()).num_bytes
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(
        descriptor, "rb"
    ) as file:  # a pipe that nobody writes to would be waited for for ever without that flag
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise GraftFileError("it is no ordinary file, expected one of safetensors; copy it into one")
        if most is not None and found.st_size > most:
            raise GraftFileError(f"the file takes {found.st_size:,} bytes, expected at most {most:,}; raise the cap")
        content = file.read(found.st_size + 1)
    if len(content) != found.st_size:
        raise GraftFileError(
            f"the file changed while it was read, from {found.st_size:,} bytes; try again when its writer is done"
        )
    return content
