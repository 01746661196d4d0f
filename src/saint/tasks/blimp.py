"""Which of two sentences is grammatical, 67 phenomena of English."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class Blimp(Task):
    """Both sentences as whole texts. The score without normalisation is the published one.

    Lines: `sentence_good`, `sentence_bad`, `UID`, as published.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1912.00582"
    licence: ClassVar[str] = "CC-BY"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        both = (text(line, "sentence_good"), text(line, "sentence_bad"))
        return (Question(contexts=("",), options=both, group=text(line, "UID")),)
