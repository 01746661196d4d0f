"""Bits that flip and files that are cut off: each change is made in turn, and a verification has to find it.

What is found is a problem, or, where a checkpoint names a key that nobody knows any more, a signature that could not be
checked: `saint verify` ends with 1 or 3, never with 0. `verify.py` is asked about entries as well; signatures it does
not check.
"""

import contextlib
import functools
import io
import random
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

from saint.errors import LedgerError, NewerFormatError
from saint.registry import Registry, verify
from saint.report import Figure
from saint.signing import Key, make_key

_NUM_ENTRIES = 6
_FLIPPED_ENTRIES = (0, 3, 5)
_BLOB_BYTES, _NUM_BLOB_FLIPS = 1 << 17, 10_000
_CUT_EVERY = 512


def figures(folder: Path) -> list[Figure]:
    """Of every bit of three entries and a checkpoint, 10,000 bits of a blob, and every file cut at each 512 bytes."""
    return measure(folder)


def measure(folder: Path, *, every: int = 1) -> list[Figure]:
    """The same; of every n-th bit alone where that will do."""
    here, key = folder / "registry", make_key(folder / "key.pem")
    blob = _grown(here, key)
    entries = sorted(here.glob("log/*/*.json"))
    [note] = here.glob("checkpoints/*.note")
    assert _finds_nothing(here, key), "a whole registry verifies"
    chosen = [entries[number] for number in _FLIPPED_ENTRIES]

    def flip(content: bytes) -> Iterator[bytes]:
        return (_flipped(content, bit) for bit in range(0, 8 * len(content), every))

    flips = {
        "entries": [_changed(here, key, entry, flip) for entry in chosen],
        "checkpoint": [_changed(here, key, note, flip)],
        "blob": [_changed(here, key, blob, lambda content: _some_flips(content, _NUM_BLOB_FLIPS // every))],
        "entries_by_verify_py": [_changed(here, key, entry, flip, by=_page_finds) for entry in chosen],
    }
    cuts = [_changed(here, key, file, _cut) for file in (*entries, note, blob)]
    assert _finds_nothing(here, key), "and does so again when all was put back"
    figures = [figure for what, counts in flips.items() for figure in _figures(f"flips_of_{what}", counts)]
    return [*figures, *_figures("truncations", cuts)]


def _figures(name: str, counts: list[tuple[int, int]]) -> list[Figure]:
    """How many changes were made, and how many of them were not found."""
    num, num_found = map(sum, zip(*counts, strict=True))
    return [
        Figure(name=f"{name}_tried", value=num, target=_ASKED[name], sense="at_least"),
        Figure(name=f"{name}_missed", value=num - num_found, target=0, sense="at_most"),
    ]


_ASKED = {
    "flips_of_entries": 3 * 8 * 200,
    "flips_of_checkpoint": 8 * 150,
    "flips_of_blob": 10_000,
    "flips_of_entries_by_verify_py": 3 * 8 * 200,
    "truncations": _BLOB_BYTES // _CUT_EVERY + 6,
}
"""At least as many as that: every entry has more than 200 bytes, one more than 3,000, a checkpoint more than 150."""


def _grown(folder: Path, key: Key) -> Path:
    """A registry of some entries and one signed checkpoint; gives the place of its large blob."""
    registry, draw = Registry.open(folder), random.Random(0)
    registry.seal.signer = lambda: key
    for row in range(_NUM_ENTRIES):
        num_bytes, num_words = (_BLOB_BYTES, 1000) if row == 1 else (40, 9)
        body = {"row": row, "small": 1e-9, "text": "\u00e9 " * num_words}
        registry.write("noted", body, contents=[draw.randbytes(num_bytes)])
    registry.seal.seal()
    return max(folder.glob("blobs/*/*"), key=lambda place: place.stat().st_size)


def _changed(
    folder: Path,
    key: Key,
    file: Path,
    changes: Callable[[bytes], Iterator[bytes]],
    *,
    by: Callable[[Path, Key], bool] | None = None,
) -> tuple[int, int]:
    """Change a file in each of these ways, and put it back; how many they were, and how many were found."""
    find, content, num, num_found = by or _finds, file.read_bytes(), 0, 0
    file.chmod(0o644)
    for changed in changes(content):
        file.write_bytes(changed)
        num += 1
        num_found += find(folder, key)
    file.write_bytes(content)
    return num, num_found


def _finds(folder: Path, key: Key) -> bool:
    """Whether a verification that knows the log's key does not end well."""
    registry = Registry.open(folder, must_exist=True)
    registry.seal.signer = lambda: key
    try:
        found = verify(registry)
    except (LedgerError, NewerFormatError):
        return True
    return bool(found.problems or found.unchecked)


def _finds_nothing(folder: Path, key: Key) -> bool:
    return not _finds(folder, key) and not _page_finds(folder, key)


def _page_finds(folder: Path, _: Key) -> bool:
    """Whether the registry's own verify.py says that something is wrong."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _page(folder)([str(folder)]) == 1


@functools.cache
def _page(folder: Path) -> Callable[[list[str]], int]:
    return runpy.run_path(str(folder / "verify.py"))["main"]  # type: ignore[no-any-return]


def _some_flips(content: bytes, num: int) -> Iterator[bytes]:
    return (_flipped(content, bit) for bit in random.Random(1).sample(range(8 * len(content)), num))


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _cut(content: bytes) -> Iterator[bytes]:
    return (content[:length] for length in range(0, len(content), _CUT_EVERY))
