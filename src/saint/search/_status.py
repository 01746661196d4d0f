"""Two small files by which others look on at a search and ask things of it; nothing of the record depends on them."""

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, final

from saint import config, records
from saint.errors import ConfigError, StorageError

FORMAT = 1
_STATUS, _CONTROL = "search.json", "search.control"
_EVERY_S = 0.5
_MOST_STATUS_BYTES, _MOST_CONTROL_BYTES = 1 << 22, 64
_SILENT_AFTER_S = 600.0
"""A coordinator that judges says nothing meanwhile; one of another machine cannot be asked whether it lives."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """A worker, as its coordinator knows it."""

    name: str
    state: Literal["starting", "idle", "busy"] = "starting"
    role: str = ""
    """What its job is for; "" without one, as what follows."""
    job: str = ""
    label: str = ""
    """What the job is, for people."""
    group: str = ""
    """What it shares with other jobs, such as the blocks below a site."""
    since: float = 0.0
    """When this state began, in seconds since 1970."""
    units: int = 0
    """How far it came since then; tokens, of training."""
    done: int = 0
    """Jobs."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RoleStatus:
    """What the jobs of a role took so far."""

    done: int = 0
    """Jobs."""
    seconds: float = 0.0
    """Of workers, lost leases included."""
    units: int = 0
    """Tokens, of training."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SearchStatus:
    """What a coordinator says of a search that is under way."""

    pid: int
    host: str
    executor: str
    started: float
    """When the coordinator was, in seconds since 1970."""
    written: float
    """When this was said, likewise."""
    round: int | None = None
    """Counted from 0."""
    paused: bool = False
    ended: bool = False
    """Whether the coordinator has gone home; its process may go on with something else."""
    workers: tuple[WorkerStatus, ...] = ()
    jobs: dict[str, int] = field(default_factory=dict)
    """Stage -> how many have come so far."""
    roles: dict[str, RoleStatus] = field(default_factory=dict)
    lost: int = 0
    """Leases that came to nothing."""
    refused: int = 0
    """Answers that did not stand the coordinator's own measurement."""
    said: tuple[str, ...] = ()
    """The last sentences, oldest first."""
    format: int = FORMAT


class Seen(NamedTuple):
    """What somebody who looks at a registry finds."""

    status: SearchStatus | None
    """The last that was said; None where nothing can be read."""
    nobody: str
    """Why nobody is known to be at work, for a person; "" where a coordinator is."""


@final
class StatusFile:
    """The coordinator's side of the status: written whole or not at all, and not too often."""

    def __init__(self, work: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Write in a registry's folder for work in progress.

        Args:
            clock: By which it is told how often it writes, in seconds.
        """
        self._place, self._clock = work / _STATUS, clock
        self._next = -float("inf")

    def show(self, make: Callable[[], SearchStatus], *, at_once: bool = False) -> bool:
        """Write what `make` gives, which is not called where it is too early; returns whether it was written.

        A disk that refuses is no reason to end a search: what looks on then sees what was said before.

        Args:
            at_once: Do not wait for the next turn, as for the last word.
        """
        now = self._clock()
        if now < self._next and not at_once:
            return False
        self._next = now + _EVERY_S
        try:
            _write(self._place, records.to_canonical(make()))
        except OSError:
            return False
        return True


def look(work: Path, *, now: float | None = None) -> Seen:
    """What a search in a registry's folder for work in progress says of itself, and whether it is under way.

    Args:
        now: Seconds since 1970; the clock's when left out.
    """
    now = time.time() if now is None else now
    try:
        found = json.loads(_read(work / _STATUS, at_most=_MOST_STATUS_BYTES))
    except FileNotFoundError:
        return Seen(None, "no search with workers was under way here")
    except (OSError, ValueError, RecursionError) as error:
        return Seen(None, f"{_STATUS} cannot be read ({error}); whoever writes it writes it anew")
    if isinstance(found, Mapping) and found.get("format") != FORMAT:
        return Seen(None, f"{_STATUS} has format {str(found.get('format'))[:20]!r}, this version reads {FORMAT}")
    try:
        status = config.build(found, SearchStatus, where=_STATUS)
    except ConfigError as error:
        return Seen(None, str(error))
    return Seen(status, _nobody(status, now))


def _nobody(status: SearchStatus, now: float) -> str:
    if status.ended:
        return "the search ended"
    if status.host == socket.gethostname():
        return "" if _lives(status.pid) else f"its coordinator, process {status.pid}, died"
    silent = now - status.written
    if silent <= _SILENT_AFTER_S:
        return ""
    return f"its coordinator, process {status.pid} on {status.host}, has said nothing for {silent:,.0f} s"


def _lives(pid: int) -> bool:
    if pid < 1:
        return False  # such numbers stand for groups of processes
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # somebody else's
    except (OSError, OverflowError):
        return False
    return True


class Word(StrEnum):
    """What may be asked of a search."""

    PAUSE = "pause"
    """Lease nothing more; what runs goes on."""
    RESUME = "resume"
    STOP = "stop"
    """As one Ctrl-C: end where it can go on."""


@final
class Control:
    """The file by which others ask something of a search: one word, the last one counts."""

    def __init__(self, work: Path) -> None:
        """Use that in a registry's folder for work in progress."""
        self._place = work / _CONTROL

    def ask(self, word: Word) -> None:
        """Ask; the coordinator takes it up in its next turn.

        Raises:
            StorageError: The disk refused.
        """
        try:
            _write(self._place, f"{word}\n")
        except OSError as error:
            raise StorageError(
                f"{self._place} was not written ({error.strerror}); make room or make it writable"
            ) from error

    def asked(self) -> Word | None:
        """What was asked since the last time; it is taken away, so that it is heard once.

        A coordinator that begins takes away what was asked of an earlier one.
        """
        taken = self._place.with_name(f".{_CONTROL}.{os.getpid()}.taken")
        try:
            self._place.replace(taken)  # what is asked from here on is not lost
            return Word(_read(taken, at_most=_MOST_CONTROL_BYTES).decode().strip())
        except (OSError, ValueError):
            return None
        finally:
            taken.unlink(missing_ok=True)


def _write(place: Path, text: str) -> None:
    """Whole or not at all, for readers; it is not worth surviving a loss of power."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(exist_ok=True)
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _read(place: Path, *, at_most: int) -> bytes:
    """An ordinary file's content; a registry may come from anybody, so a pipe is not waited for."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(errno.EFBIG, f"it has over {at_most:,} bytes")
    return content
