"""The Winograd schema challenge: what a pronoun stands for."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._question import Question
from saint.tasks._schema import schema
from saint.tasks._task import Sort, Task


@final
class Wsc(Task):
    """The end of the sentence after its beginning with either noun in place of the pronoun; twins are one observation.

    Lines: `context_options`, `continuation`, `gold`.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "arXiv:1806.02847"
    licence: ClassVar[str] = "CC-BY-4.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        return (schema(line),)
