"""What makes a place a library: one file that says so. Grafts and certificates have names by what is in them."""

import json
from typing import Any

from saint import records
from saint.errors import LibraryError, NewerFormatError, RemoteContentError
from saint.remotes import LIBRARY, MARKER, AbsentError, Remote

_FORMAT = 1
_MOST_MARKER_BYTES = 4 << 10
MOST_CERTIFICATE_BYTES = 4 << 20


def must_be_library(remote: Remote) -> None:
    """Refuse a place that is no library, or one of another format.

    Raises:
        LibraryError: There is none.
        NewerFormatError: A newer version wrote it.
        RemoteContentError: What says that it is one cannot be read.
    """
    try:
        content = remote.get(LIBRARY, _MOST_MARKER_BYTES)
    except AbsentError:
        raise LibraryError(
            f"{remote.address} is no library (it has no {LIBRARY}); the first `saint library publish` there makes one"
        ) from None
    try:
        marker: Any = json.loads(content)
        found, hashed = marker["format"], marker["hash"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteContentError(
            f"{LIBRARY} at {remote.address} is not what a library has there; use another copy"
        ) from error
    if type(found) is int and found > _FORMAT:
        raise NewerFormatError(
            f"{remote.address} has library format {found}, this version reads up to {_FORMAT}; update saint-g"
        )
    if type(found) is not int or found != _FORMAT or hashed != "sha256":
        raise RemoteContentError(
            f"{LIBRARY} at {remote.address} says format {found!r:.40}, hash {hashed!r:.40}; a library has format "
            f"{_FORMAT}, hash sha256; use another copy"
        )


def begin(remote: Remote) -> None:
    """Make a library of an empty place; a library stays as it is.

    Raises:
        LibraryError: A registry is there.
    """
    try:
        must_be_library(remote)
    except LibraryError:
        if _has(remote, MARKER):
            raise LibraryError(f"{remote.address} is a registry; give the address of a library, or of a new one") from (
                None
            )
        if not remote.create(LIBRARY, records.to_canonical({"format": _FORMAT, "hash": "sha256"}).encode()):
            must_be_library(remote)  # another publisher was faster


def _has(remote: Remote, name: str) -> bool:
    try:
        remote.get(name, _MOST_MARKER_BYTES)
    except AbsentError:
        return False
    return True
