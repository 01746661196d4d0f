"""Questions that common sense answers, with five options."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import asked, spaced, stem_and_choices
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class CommonsenseQa(Task):
    """The text of each option after "Question: ... Answer:", as the harness of EleutherAI asks.

    Lines: `question` with `choices` and `answerKey`, as published (`question.stem`, `question.choices`) or as on the
    Hugging Face hub; or `query`, `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1811.00937"
    licence: ClassVar[str] = "MIT"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        stem, options, right = stem_and_choices(line)
        return (Question(contexts=(asked(stem),), options=spaced(options), right=right),)
