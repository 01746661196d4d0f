"""What caused something, or what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.errors import DataError
from saint.tasks._fields import choices, has, place, spaced, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task

_WORDS = {"cause": "because", "effect": "therefore"}


@final
class Copa(Task):
    """Each alternative after the premise and "because" or "therefore", in one sentence.

    Lines: `premise`, `choice1`, `choice2`, `question` (cause or effect), `label`, as in SuperGLUE; or `query`,
    `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1905.00537"
    licence: ClassVar[str] = "BSD-2-Clause"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if has(line, "choice1", "choice2"):
            options, right = [text(line, "choice1"), text(line, "choice2")], place(line, 2)
            word = _WORDS.get(sought := text(line, "question"))
            if word is None:
                raise DataError(f"'question' is {sought!r}, neither cause nor effect")
            context = f"{text(line, 'premise').strip().rstrip('.')} {word}"
            options = [f"{option[:1].lower()}{option[1:]}" for option in options]
        else:
            options, right = choices(line, "choices")
            context = text(line, "query").strip()
        return (Question(contexts=(context,), options=spaced(options), right=right),)
