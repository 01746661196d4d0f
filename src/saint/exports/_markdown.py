"""Text of people's own in Markdown, shown as they wrote it."""

import re
from collections.abc import Iterable, Sequence

_HIDDEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
"""Control characters, and those that turn the direction of text around."""


def plain(text: str) -> str:
    """One line in which nothing is markup, and that reads in the order in which it is written."""
    shown = _HIDDEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", shown)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, quoted: bool = False) -> list[str]:
    """The lines of a table, an empty one last.

    Args:
        quoted: Cells are digests, which are set as code; what is none is not.
    """
    cells = [[f"`{cell}`" if quoted and cell.isalnum() else plain(cell) for cell in row] for row in rows]
    return [
        f"| {' | '.join(map(plain, heads))} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
    ]
