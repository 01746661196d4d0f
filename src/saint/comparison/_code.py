"""The code that decides results, as a digest, so that results of other code are not taken up."""

import hashlib
import inspect
from functools import cache
from pathlib import Path

from saint import discovery, records
from saint.grafts import Kind

_PACKAGE = Path(__file__).parents[1]
_ROOMS = (
    "records",
    "config",
    "data",
    "models",
    "grafts",
    "composition",
    "candidates",
    "sensitivity",
    "training",
    "evaluation",
    "consolidation",
)
_FILES = ("comparison/_bench.py", "comparison/_tuning.py")


@cache
def code_digest() -> str:
    """Of the source of every room that has a say in what a run learns or in what is measured of it."""
    return source_digest(_PACKAGE)


def source_digest(package: Path) -> str:
    """The same of the package in another folder."""
    rooms = (file for room in _ROOMS for file in (package / room).rglob("*.py"))
    files = sorted([*rooms, *(package / name for name in _FILES)])
    return records.digest({file.relative_to(package).as_posix(): _digest_of(file) for file in files})


def plug_in_digest(kind: str) -> str:
    """Of the file that defines a kind of another package; "" for one of this package, which `code_digest` covers."""
    source = inspect.getsourcefile(discovery.find("grafts", kind, Kind))
    assert source is not None  # it was found by its file
    file = Path(source).resolve()
    return "" if file.is_relative_to(_PACKAGE.resolve()) else _digest_of(file)


def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
