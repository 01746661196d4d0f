"""One process at a time grows a registry, by a lock in its work folder; who waits for it comes next."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from saint.errors import BusyError, StorageError

_ASKED_AGAIN_AFTER_S = 0.1


@contextmanager
def held(work: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a registry against other processes that would grow it.

    Args:
        work: Its folder for work in progress.
        waiting: Asked again and again while another process holds it; may raise. Who waits comes next: who had it
            last and wants it back waits behind them. Without it nobody waits.

    Raises:
        BusyError: Another process holds it, and nobody is to wait.
        StorageError: What is there cannot be opened as a file.
    """
    work.mkdir(exist_ok=True)
    with ExitStack() as stack, _open(work / "next") as turn:
        if waiting is not None:
            _hold(turn, waiting, work.parent)
        stack.enter_context(lock := _open(work / "lock"))
        _hold(lock, waiting, work.parent)
        stack.callback(fcntl.flock, lock, fcntl.LOCK_UN)  # closed, it would stay with a process that was forked
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield


def _hold(file: IO[bytes], waiting: Callable[[], object] | None, folder: Path) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if waiting is None or not isinstance(error, BlockingIOError):
                raise BusyError(f"another process grows {folder}; wait for it or stop it") from error
        waiting()
        time.sleep(_ASKED_AGAIN_AFTER_S)


def _open(place: Path) -> IO[bytes]:
    """A file to hold a lock on. What a link leads to is not for us to open, still less to empty."""
    try:
        return os.fdopen(os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise StorageError(
            f"{place} cannot be opened as a file ({error.strerror}), so this registry cannot be held; delete it, or "
            "make it writable"
        ) from error
