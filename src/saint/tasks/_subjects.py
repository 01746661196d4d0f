"""The lines of MMLU."""

from collections.abc import Mapping
from typing import Any

from saint.tasks._fields import choices, text


def subject_line(line: Mapping[str, Any]) -> tuple[str, str, list[str], int]:
    """(subject, question, options, place of the right one).

    Raises:
        DataError: The line is something else.
    """
    options, right = choices(line, "choices")
    return text(line, "subject"), text(line, "query", "question").strip(), options, right
