"""57 subjects of school, university and profession; the answer is a text."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import asked, spaced
from saint.tasks._question import Question
from saint.tasks._subjects import subject_line
from saint.tasks._task import Sort, Task


@final
class MmluCloze(Task):
    """The text of each option after the question alone: the form for small models, which letters tell nothing about.

    Lines: as of `mmlu`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:2406.08446"
    licence: ClassVar[str] = "MIT"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        subject, question, options, right = subject_line(line)
        return (Question(contexts=(asked(question),), options=spaced(options), right=right, group=subject),)
