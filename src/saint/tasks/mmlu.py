"""57 subjects of school, university and profession; the answer is a letter."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import LETTERS
from saint.tasks._question import Question
from saint.tasks._subjects import subject_line
from saint.tasks._task import Sort, Task


@final
class Mmlu(Task):
    """The letters of the options after question and options, without examples before it.

    A model that has not learnt to answer by letters is at chance whatever it knows: `mmlu_cloze` asks for the texts.

    Lines: `question` or `query`, `choices`, `answer` or `gold`, `subject`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:2009.03300"
    licence: ClassVar[str] = "MIT"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        subject, question, options, right = subject_line(line)
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}."
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
        letters = tuple(f" {letter}" for letter in LETTERS[: len(options)])
        context = f"{head}\n\n{question}\n{listed}\nAnswer:"
        return (Question(contexts=(context,), options=letters, right=right, group=subject),)
