"""Whom or what a sentence is about: Winograd schemas in large."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.errors import DataError
from saint.tasks._fields import has, place, text
from saint.tasks._question import Question
from saint.tasks._schema import schema
from saint.tasks._task import Sort, Task

_GAP = "_"


@final
class Winogrande(Task):
    """The end of the sentence after its beginning with either option in the gap: what differs is the context.

    Lines: `sentence` with a gap of `_`, `option1`, `option2`, `answer` (1 or 2), as published; or `context_options`,
    `continuation`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1907.10641"
    licence: ClassVar[str] = "CC-BY"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if not has(line, "sentence"):
            return (schema(line),)
        before, gap, after = text(line, "sentence").partition(_GAP)
        if not gap or not after.strip():
            raise DataError(f"'sentence' has no {_GAP} with text after it")
        contexts = tuple(f"{before}{text(line, option)}" for option in ("option1", "option2"))
        end = f" {after.strip()}"
        return (
            Question(
                contexts=contexts, options=(end, end), right=place(line, 2, first=1), cluster=" / ".join(contexts)
            ),
        )
