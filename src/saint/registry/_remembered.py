"""What this machine has verified of each registry, kept outside of them: what was cut short or rewritten shows here."""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, final

from saint.errors import RememberedError, StorageError
from saint.home import home, replace_file
from saint.registry._checkpoint import Checkpoint
from saint.registry._merkle import MerkleTree

_FORMAT = 1
_HASH = re.compile(r"[0-9a-f]{64}")
"""A root, and a public key: 32 bytes."""
_MOST_KEPT = 64


@final
class Standing(StrEnum):
    """How a log relates to what was verified before."""

    UNKNOWN = "unknown"
    """This machine has never verified it."""
    EXTENDS = "extends"
    SHORTER = "shorter"
    """Entries that were verified are missing: the log was cut short, or an older copy took its place."""
    PARTED = "parted"
    """It begins as what was verified and goes on otherwise: rewritten from there on, or a fork."""
    REWRITTEN = "rewritten"
    """Nothing that was verified is in it."""
    REPLACED = "replaced"
    """Its folder held another registry."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """What was verified of one registry."""

    origin: str
    checkpoints: tuple[tuple[int, str], ...]
    """(number of entries, root in hexadecimal), smallest first; the last is the latest."""
    keys: tuple[str, ...]
    """Public keys, in hexadecimal, that sign for it."""
    place: str
    """The folder where it was last."""
    time: str
    trusted: str = ""
    """When its keys were taken from the registry itself, as nobody had told of them; "" for never."""

    @property
    def size(self) -> int:
        """Of the latest checkpoint."""
        return self.checkpoints[-1][0]

    def agreed(self, tree: MerkleTree) -> int:
        """How many of the tree's first entries are those that were verified, as far as checkpoints tell."""
        fitting = [size for size, root in self.checkpoints if size <= len(tree) and tree.root(size).hex() == root]
        return max(fitting, default=0)

    def standing(self, tree: MerkleTree) -> Standing:
        """How this tree relates to what was verified."""
        agreed = self.agreed(tree)
        if agreed == self.size:
            return Standing.EXTENDS
        if agreed == max((size for size, _ in self.checkpoints if size <= len(tree)), default=0):
            return Standing.SHORTER
        return Standing.PARTED if agreed else Standing.REWRITTEN


@final
class Memory:
    """The folder in which a machine remembers."""

    def __init__(self, folder: Path | None = None) -> None:
        """Say where; `$SAINT_HOME/seen` or `~/.saint-g/seen` when left out."""
        self.folder = folder or home() / "seen"

    def recall(self, origin: str) -> Remembered | None:
        """What was verified of the registry with that name.

        Raises:
            RememberedError: It cannot be read.
        """
        path = self._path(origin)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return Remembered(
                origin=_expected(origin, found["origin"] if found["format"] == _FORMAT else "another format"),
                checkpoints=_checkpoints(found["checkpoints"]),
                keys=tuple(map(_key, found["keys"])),
                place=str(found["place"]),
                time=str(found["time"]),
                trusted=str(found.get("trusted", "")),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RememberedError(
                f"{path} cannot be read ({error}); restore it, or delete it and verify anew"
            ) from error

    def recall_place(self, place: Path) -> str | None:
        """The name of the registry that was in this folder when it was last seen."""
        try:
            return self._place_path(place).read_text(encoding="utf-8").splitlines()[0]
        except (FileNotFoundError, IndexError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RememberedError(f"{self._place_path(place)} cannot be read ({error}); delete it") from error

    def remember(
        self,
        checkpoint: Checkpoint,
        *,
        place: Path,
        keys: Sequence[bytes] = (),
        anew: bool = False,
        on_trust: bool = False,
    ) -> None:
        """Keep what was verified; to be called when all of it was. What is known of more entries stays.

        Args:
            place: The registry's folder.
            keys: Public keys that sign for it, beside those that are known.
            anew: Forget what was known of it.
            on_trust: If it was not known: nobody told of the keys but the registry itself.

        Raises:
            StorageError: The disk refused; what was known stays known.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        now = Remembered(
            origin=checkpoint.origin,
            checkpoints=((checkpoint.size, checkpoint.root.hex()),),
            keys=tuple(key.hex() for key in keys),
            place=os.fsencode(place.resolve()).decode(errors="replace"),  # for people
            time=time,
            trusted=time if on_trust else "",
        )
        with self._locked():
            known = None if anew else self.recall(checkpoint.origin)
            if known is not None:
                now = replace(
                    now,
                    checkpoints=_thinned(sorted({*known.checkpoints, *now.checkpoints})),
                    keys=tuple(dict.fromkeys([*known.keys, *now.keys])),
                    trusted=known.trusted,
                )
            if now != known:
                replace_file(self._path(now.origin), _spelled(now).encode())
            if self.recall_place(place) != now.origin:
                replace_file(self._place_path(place), f"{now.origin}\n{now.place}\n".encode())

    def index_path(self, place: Path) -> Path:
        """Where it is remembered what index this machine wrote into the registry in a folder."""
        return self.folder / "indexes" / _name_of(place)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self.folder / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"{self.folder}, where this machine remembers what it verified, was not written "
                f"({error.strerror}); make room, or name another folder in SAINT_HOME"
            ) from error

    def _path(self, origin: str) -> Path:
        return self.folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:8]}-{_harmless(origin)}.json"

    def _place_path(self, place: Path) -> Path:
        return self.folder / "places" / _name_of(place)


def _name_of(place: Path) -> str:
    return hashlib.sha256(os.fsencode(place.resolve())).hexdigest()


def _checkpoints(found: Sequence[Sequence[Any]]) -> tuple[tuple[int, str], ...]:
    checkpoints = tuple((size, root) for size, root in found)
    sound = all(type(size) is int and size >= 0 and _HASH.fullmatch(root) for size, root in checkpoints)
    if not checkpoints or not sound or sorted(checkpoints) != list(checkpoints):
        raise ValueError("it does not have the checkpoints that it has to")
    return checkpoints


def _expected(origin: str, found: str) -> str:
    if found != origin:
        raise ValueError(f"{origin} was expected, and it has {str(found)[:60]}")
    return found


def _key(found: str) -> str:
    if not _HASH.fullmatch(found):
        raise ValueError("it has a key that is none")
    return found


def _harmless(origin: str) -> str:
    """The part of a name that can be a file's: names come from registries, and those from anywhere."""
    return "".join(letter for letter in origin if letter.isascii() and (letter.isalnum() or letter == "-"))[:64]


def _thinned(checkpoints: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """All of the latest, and ever fewer of the older ones."""
    if len(checkpoints) > _MOST_KEPT:
        half = _MOST_KEPT // 2
        checkpoints = checkpoints[:half:2] + checkpoints[half:]
    return tuple(checkpoints)


def _spelled(remembered: Remembered) -> str:
    fields = {name: getattr(remembered, name) for name in ("origin", "checkpoints", "keys", "place", "time", "trusted")}
    return json.dumps({"format": _FORMAT, **fields}, indent=1) + "\n"
