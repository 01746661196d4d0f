"""What reports write beside each other: pictures with the meaning of their colours, and files whole or not at all."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from saint.report._svg import standalone


@final
class Picture:
    """An SVG that takes its colours from the page, and what its colours mean."""

    def __init__(self, svg: str, legend: list[tuple[str, str]]) -> None:
        self.svg, self.legend = svg, legend


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture as a document with colours of its own."""
    write_whole(path, standalone(picture.svg, picture.legend))


def write_whole(path: Path, text: str) -> None:
    """Write a file, all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, an empty one last."""
    escaped = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in row] for row in (heads, *rows)]
    return [
        *(f"| {' | '.join(row)} |" for row in escaped[:1]),
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in escaped[1:]),
        "",
    ]
