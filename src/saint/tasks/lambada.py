"""The last word of a passage, which takes all of the passage to guess."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.errors import DataError
from saint.tasks._fields import has, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class Lambada(Task):
    """Right where each token of the last word is the likeliest in its place.

    Lines: `text`, as in OpenAI's version; or `context`, `continuation`.
    """

    sort: ClassVar[Sort] = "word"
    reference: ClassVar[str] = "arXiv:1606.06031"
    licence: ClassVar[str] = "CC-BY-4.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if has(line, "context", "continuation"):
            context, word = text(line, "context").rstrip(), text(line, "continuation").strip()
        else:
            context, _, word = text(line, "text").rstrip().rpartition(" ")
        if not context or not word:
            raise DataError("it has no context, or no last word after it")
        return (Question(contexts=(context,), options=(f" {word}",)),)
