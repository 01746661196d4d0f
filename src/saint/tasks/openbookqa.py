"""Questions of elementary science that take a fact and common sense."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import spaced, stem_and_choices
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class OpenbookQa(Task):
    """Each option after the stem of the question, without the book.

    Lines: `question.stem` with `question.choices` and `answerKey`, as published; `question_stem`, `choices`,
    `answerKey`, as on the Hugging Face hub; or `query`, `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1809.02789"
    licence: ClassVar[str] = "Apache-2.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        stem, options, right = stem_and_choices(line)
        return (Question(contexts=(stem.strip(),), options=spaced(options), right=right),)
