"""The code that decides a comparison's results, as a digest."""

from functools import cache
from pathlib import Path

from saint import discovery, search
from saint.grafts import Kind

_FILES = ("comparison/_bench.py", "comparison/_tuning.py")


@cache
def code_digest() -> str:
    """Of the source of every room that has a say in what a run learns or in what is measured of it."""
    return search.code_digest(_FILES)


def source_digest(package: Path) -> str:
    """The same of the package in another folder."""
    return search.code_digest(_FILES, package=package)


def plug_in_digest(kind: str) -> str:
    """Of the file that defines a kind of another package; "" for one of this package, which `code_digest` covers."""
    return search.defining_digest(discovery.find("grafts", kind, Kind))
