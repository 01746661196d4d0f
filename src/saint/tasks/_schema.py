"""Winograd schemas whose contexts were written out with either option."""

from collections.abc import Mapping
from typing import Any

from saint.errors import DataError
from saint.tasks._fields import checked, place, text
from saint.tasks._question import Question


def schema(line: Mapping[str, Any]) -> Question:
    """One end after several contexts; twins, which differ in their ends, are one cluster.

    Raises:
        DataError: The line is something else.
    """
    contexts = line.get("context_options")
    if not isinstance(contexts, list) or len(contexts) < 2:
        raise DataError(f"it has no 'context_options', a list of two or more, but {', '.join(line) or 'nothing'}")
    found = tuple(checked(context, "context_options").rstrip() for context in contexts)
    end = f" {text(line, 'continuation').strip()}"
    right = place(line, len(found))
    return Question(contexts=found, options=(end,) * len(found), right=right, cluster=" / ".join(found))
