"""What every registry carries to be readable without this package: its name, FORMAT.md and verify.py."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from importlib import resources

from saint.registry._store import Store

_ORIGIN = re.compile(r"saint-g-[0-9a-f]{32}")
_PAGES = {"FORMAT.md": "FORMAT.md", "verify.py": "_verifier.py"}
"""Name in a registry -> name in this package."""
_KNOWN: dict[str, frozenset[str]] = {"FORMAT.md": frozenset(), "verify.py": frozenset()}
"""SHA-256 of the pages that released versions wrote; add one before a page changes."""


def new_origin() -> str:
    """A name that no other registry has."""
    return f"saint-g-{secrets.token_hex(16)}"


def origin_after(first_entry: str) -> str:
    """The name of a log that was begun without one, from the digest of its first entry."""
    return f"saint-g-{first_entry[:32]}"


def origins_in(store: Store) -> list[str]:
    """The registry's name, then the names it had; none where it has no such file, or a changed one."""
    try:
        return names_in((store.folder / "origin").read_bytes())
    except OSError:
        return []


def names_in(content: bytes) -> list[str]:
    """The names that an `origin` file holds; none where it was changed."""
    lines = content.decode(errors="replace").splitlines()
    return lines if all(map(_ORIGIN.fullmatch, lines)) else []


def add_pages(store: Store, origin: str) -> None:
    """Write what of it is missing; what is there stays.

    Raises:
        StorageError: The disk refused.
    """
    for name, content in {"origin": f"{origin}\n".encode(), **_pages()}.items():
        if not (store.folder / name).exists():
            store.create(store.folder / name, content)


def changed_pages(store: Store) -> Sequence[str]:
    """A sentence for each page that is none this or an earlier version wrote."""
    found = []
    for name, content in _pages().items():
        place = store.folder / name
        known = {hashlib.sha256(content).hexdigest()} | _KNOWN[name]
        if place.exists() and hashlib.sha256(place.read_bytes()).hexdigest() not in known:
            found.append(
                f"{place} is not what this version or an earlier one wrote: it was changed, or is a newer version's; "
                "do not trust it, delete it, and the next write puts it back"
            )
    return found


def _pages() -> dict[str, bytes]:
    folder = resources.files("saint.registry")
    return {name: (folder / source).read_bytes() for name, source in _PAGES.items()}
