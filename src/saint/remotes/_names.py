"""The names that a registry's files have, here and everywhere else, and how large each may be."""

import re
from dataclasses import dataclass
from typing import final

from saint.errors import RemoteContentError

MARKER, ORIGIN = "registry.json", "origin"
_ENTRY = re.compile(r"log/([0-9]{6})/([0-9]{9})\.json")
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{64})")
_NOTE = re.compile(r"checkpoints/([0-9]{9})\.note")
_KEY = re.compile(r"checkpoints/([0-9a-f]{16})\.pem")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAGES = ("FORMAT.md", "verify.py")
"""They go out with a registry, so that a copy explains itself; they never come in: code is not taken from a remote."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """The most that is taken from a remote, in bytes; it is cut off there, whatever it says of itself."""

    marker: int = 4 << 10
    entry: int = 16 << 20
    note: int = 64 << 10
    blob: int = (8 << 30) - 1
    """The largest file that the plainest tar can hold."""
    num_names: int = 10_000_000
    """How many names a remote may list."""


def is_name(name: str) -> bool:
    """Whether a registry can have a file of that name; nothing else is ever asked for or written."""
    if found := _ENTRY.fullmatch(name):
        return int(found[1]) == int(found[2]) // 1000
    if found := _BLOB.fullmatch(name):
        return found[2].startswith(found[1])
    return name in (MARKER, ORIGIN, *_PAGES) or any(one.fullmatch(name) for one in (_NOTE, _KEY))


def entry_name(number: int) -> str:
    """Where the entry with that number lies."""
    return f"log/{number // 1000:06d}/{number:09d}.json"


def blob_name(digest: object) -> str:
    """Where the content with that digest lies.

    Raises:
        RemoteContentError: It is not a digest, so that no path may be made from it.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RemoteContentError(
            f"{digest!r:.80} stands where a SHA-256 digest has to; somebody wrote it there, so use another copy"
        )
    return f"blobs/{digest[:2]}/{digest}"


def key_start(name: str) -> str | None:
    """The start of the digest of the public key that a file holds; None for other files."""
    return found[1] if (found := _KEY.fullmatch(name)) else None


def number_of(name: str) -> int | None:
    """The number of the entry, or the number of entries that the checkpoint is about; None for other files."""
    if found := _ENTRY.fullmatch(name):
        return int(found[2])
    return int(found[1]) if (found := _NOTE.fullmatch(name)) else None


def pages() -> tuple[str, ...]:
    """The files that explain a registry to whoever finds it."""
    return _PAGES
