"""Questions about a passage that are answered by yes or no."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.errors import DataError
from saint.tasks._fields import choices, has, text, without
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class BoolQ(Task):
    """No and yes after passage and question. Some 62 % of the answers are yes, so chance is not what is to be beaten.

    Lines: `passage`, `question`, and true or false as `answer` or `label`; or `query`, `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1905.10044"
    licence: ClassVar[str] = "CC-BY-SA-3.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if has(line, "passage", "question"):
            said = line.get("answer", line.get("label"))
            if said not in (True, False):
                raise DataError(f"its answer is {said!r}, neither true nor false")
            passage, question, right = text(line, "passage"), text(line, "question"), int(said)
        else:
            options, right = choices(line, "choices")
            if options != ["no", "yes"]:
                raise DataError(f"its choices are {options}, not no and yes")
            passage, _, question = text(line, "query").rpartition("\nQuestion:")
        passage, question = without("Passage:", passage), question.strip().rstrip("?")
        context = f"{passage}\nQuestion: {question}?\nAnswer:"
        return (Question(contexts=(context,), options=(" no", " yes"), right=right, cluster=passage),)
