"""What a remote says that it holds, and where two histories part."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from saint.errors import ForkError, NewerFormatError, RemoteContentError
from saint.registry import Memory, Remembered, names_in, origin_after
from saint.remotes._names import MARKER, ORIGIN, Caps, entry_name, key_start, number_of
from saint.remotes._remote import AbsentError, Remote

_FORMAT = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a remote lists; of it nothing is believed before it is fetched."""

    origins: tuple[str, ...]
    """The registry's name, and those that it had; none for one without entries that nobody gave one."""
    origin_file: bytes
    """What of that is written; nothing for a registry from before they had names."""
    known: Remembered | None
    """What this machine remembers of a registry of that name, from before its entries were counted."""
    num_entries: int
    notes: tuple[str, ...]
    """Names of its checkpoints."""
    keys: tuple[str, ...]
    """Names of the files with public keys beside them."""

    @property
    def origin(self) -> str:
        """The registry's name; "" for none."""
        return self.origins[0] if self.origins else ""


def survey(remote: Remote, caps: Caps, memory: Memory) -> Survey | None:
    """Look at what is there; None where no registry is.

    Raises:
        NewerFormatError: A newer version wrote it.
        RemoteContentError: It cannot be a registry, or entries are missing.
        RememberedError: What this machine remembers of it cannot be read.
        RemoteError: It cannot be looked at.
    """
    try:
        _must_be_readable(remote, remote.get(MARKER, caps.marker))
    except AbsentError:
        if any(remote.names("log", caps=caps)):
            raise RemoteContentError(
                f"{remote.address} has entries but no {MARKER}; copy that file there from another copy"
            ) from None
        return None
    origins, origin_file = _origins(remote, caps)
    known = memory.recall(origins[0]) if origins else None
    beside = sorted(remote.names("checkpoints", caps=caps))  # before the entries: whoever pushes brings them after
    notes = {name: number for name in beside if (number := number_of(name)) is not None}
    numbers = {number_of(name) for name in remote.names("log", caps=caps)}
    if gaps := set(range(len(numbers))) - numbers:
        raise RemoteContentError(
            f"entry {min(gaps)} is missing from {remote.address} though later ones are there; use another copy"
        )
    if notes and (latest := max(notes, key=notes.__getitem__)) and notes[latest] > len(numbers):
        raise RemoteContentError(
            f"{latest} at {remote.address} was written when there were {notes[latest]} entries, and there are "
            f"{len(numbers)}: the last ones were cut off, so use another copy"
        )
    return Survey(
        origins=origins,
        origin_file=origin_file,
        known=known,
        num_entries=len(numbers),
        notes=tuple(notes),
        keys=tuple(name for name in beside if key_start(name)),
    )


def _origins(remote: Remote, caps: Caps) -> tuple[tuple[str, ...], bytes]:
    """The names of a registry, and what is written of them."""
    try:
        content = remote.get(ORIGIN, caps.marker)
    except AbsentError:
        try:
            first = remote.get(entry_name(0), caps.entry)
        except AbsentError:
            return (), b""
        return (origin_after(hashlib.sha256(first).hexdigest()),), b""
    if not (names := names_in(content)):
        raise RemoteContentError(f"{ORIGIN} at {remote.address} is not what a registry has there; use another copy")
    return tuple(names), content


def must_share(
    ours: Callable[[int], bytes], remote: Remote, num_common: int, caps: Caps, *, here: str = "here"
) -> None:
    """Check that the first `num_common` entries are the same on both sides.

    Every entry carries the digest of the one before, so that the last of them speaks for all.

    Args:
        ours: Number -> the bytes of our entry, which was checked.

    Raises:
        ForkError: They are not; it names the first that differs.
    """

    def is_same(number: int) -> bool:
        return remote.get(entry_name(number), caps.entry) == ours(number)

    if num_common == 0 or is_same(num_common - 1):
        return
    same, different = -1, num_common - 1
    while different - same > 1:
        middle = (same + different) // 2
        same, different = (middle, different) if is_same(middle) else (same, middle)
    raise ForkError(
        f"entry {different} of {remote.address} is not entry {different} {here}: both went on from the same "
        "past without each other: pull it into a new folder, look at both with `saint log`, and submit again in one "
        "of them what is worth keeping of the other"
    )


def must_be_called(origin: str, found: Survey, remote: Remote, *, here: str) -> None:
    """Check that both sides are copies of one registry, where both have a name.

    Raises:
        RemoteContentError: They are not.
    """
    if origin and found.origin and origin != found.origin:
        raise RemoteContentError(
            f"{remote.address} is the registry {found.origin}, {here} is {origin}; give another place, or pull "
            "it into a new folder"
        )


def _must_be_readable(remote: Remote, content: bytes) -> None:
    try:
        marker: Any = json.loads(content)
        found, hashed = marker["format"], marker["hash"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteContentError(
            f"{MARKER} at {remote.address} is not what a registry has there; use another copy"
        ) from error
    if isinstance(found, int) and found > _FORMAT:
        raise NewerFormatError(
            f"{remote.address} has registry format {found}, this version reads up to {_FORMAT}; update saint-g"
        )
    if type(found) is not int or found != _FORMAT or hashed != "sha256":
        raise RemoteContentError(
            f"{remote.address} says format {found!r:.40}, hash {hashed!r:.40}; a registry has format {_FORMAT}, hash "
            "sha256; use another copy"
        )
