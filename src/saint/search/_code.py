"""The code that decides results, as a digest, so that results of other code are not taken up."""

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from saint import records

_PACKAGE = Path(__file__).parents[1]
_ROOMS = (
    "records",
    "config",
    "data",
    "backbones",
    "interfaces",
    "models",
    "grafts",
    "composition",
    "candidates",
    "sensitivity",
    "training",
    "evaluation",
    "consolidation",
)


def code_digest(files: Iterable[str], *, package: Path = _PACKAGE) -> str:
    """Of the source of every room that has a say in what a run learns or in what is measured of it.

    Args:
        files: Further ones that have, relative to the package.
        package: The folder of the package.
    """
    rooms = (file for room in _ROOMS for file in (package / room).rglob("*.py"))
    there = sorted([*rooms, *(package / name for name in files)])
    return records.digest({file.relative_to(package).as_posix(): _digest_of(file) for file in there})


def defining_digest(found: type) -> str:
    """Of the file that defines a class of another package; "" for one of this package, which `code_digest` covers."""
    source = inspect.getsourcefile(found)
    assert source is not None  # it was found by its file
    file = Path(source).resolve()
    return "" if file.is_relative_to(_PACKAGE.resolve()) else _digest_of(file)


def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
