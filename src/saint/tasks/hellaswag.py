"""How a description of everyday doings goes on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import choices, has, spaced, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class HellaSwag(Task):
    """Each ending after the beginning, with the marks of WikiHow taken out, as the harness of EleutherAI asks.

    Lines: `activity_label`, `ctx_a`, `ctx_b`, `endings`, `label`, as published; or `query`, `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1905.07830"
    licence: ClassVar[str] = "MIT"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        options, right = choices(line, "endings", "choices")
        if has(line, "ctx_a", "ctx_b"):
            begun = f"{text(line, 'activity_label')}: {text(line, 'ctx_a')} {text(line, 'ctx_b').capitalize()}"
        else:
            begun = text(line, "query", "ctx")
        endings = [_plain(option) for option in options]
        return (Question(contexts=(_plain(begun),), options=spaced(endings), right=right),)


def _plain(marked: str) -> str:
    """Without "[title]", "[step]" and the like."""
    unmarked = re.sub(r"\[.*?\]", "", marked.strip().replace(" [title]", ". "))
    return unmarked.replace("  ", " ").strip()
