"""Text of people's own in Markdown, shown as they wrote it."""

import re
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """One line in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#|&])", r"\\\1", " ".join(text.split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, quoted: bool = False) -> list[str]:
    """The lines of a table, an empty one last.

    Args:
        quoted: Cells are digests, which are set as code.
    """
    cells = [[f"`{cell}`" if quoted else plain(cell) for cell in row] for row in rows]
    return [
        f"| {' | '.join(map(plain, heads))} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
    ]
