"""Any multiple choice: options that may follow a text."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.tasks._fields import choices, spaced, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class Choice(Task):
    """Each option after the text as it is, for benchmarks that have no task of their own.

    Lines: `query`, `choices`, `gold`, the number of the right one from 0 on; and if wanted `group`, to report by, and
    `cluster`, which names what questions share that makes them no independent observations.
    """

    sort: ClassVar[Sort] = "choice"
    reference: ClassVar[str] = "SAINT-G"
    licence: ClassVar[str] = "that of the file"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        options, right = choices(line, "choices")
        shared = {name: text(line, name) for name in ("group", "cluster") if name in line}
        context = text(line, "query").rstrip()
        return (Question(contexts=(context,), options=spaced(options), right=right, **shared),)
