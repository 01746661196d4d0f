"""Which of two ways of doing something works."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import asked, choices, has, place, spaced, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class Piqa(Task):
    """Each way after "Question: ... Answer:", as the harness of EleutherAI asks.

    Lines: `goal`, `sol1`, `sol2`, `label`; or `query`, `choices`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1911.11641"
    licence: ClassVar[str] = "AFL-3.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if has(line, "sol1", "sol2"):
            options, right = [text(line, "sol1"), text(line, "sol2")], place(line, 2)
        else:
            options, right = choices(line, "choices")
        return (Question(contexts=(asked(text(line, "goal", "query")),), options=spaced(options), right=right),)
