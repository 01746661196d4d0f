"""What a remote says that it holds, and where two histories part."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from saint.errors import ForkError, NewerFormatError, RemoteContentError
from saint.remotes._names import MARKER, Caps, entry_name, number_of
from saint.remotes._remote import AbsentError, Remote

_FORMAT = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a remote lists; of it nothing is believed before it is fetched."""

    num_entries: int
    notes: tuple[str, ...]
    """Names of its checkpoints."""


def survey(remote: Remote, caps: Caps) -> Survey | None:
    """Look at what is there; None where no registry is.

    Raises:
        NewerFormatError: A newer version wrote it.
        RemoteContentError: It cannot be a registry, or entries are missing.
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
    numbers = {number_of(name) for name in remote.names("log", caps=caps)}
    if gaps := set(range(len(numbers))) - numbers:
        raise RemoteContentError(
            f"entry {min(gaps)} is missing from {remote.address} though later ones are there; use another copy"
        )
    return Survey(num_entries=len(numbers), notes=tuple(sorted(remote.names("checkpoints", caps=caps))))


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
