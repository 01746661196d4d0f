"""What the fields of benchmarks' lines have in common: published copies of one benchmark differ in their names."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

from saint.errors import DataError

LETTERS = string.ascii_uppercase
"""What options are called."""


def text(line: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that there is.

    Raises:
        DataError: There is none, or it is no text.
    """
    for name in names:
        if name in line:
            return checked(line[name], name)
    raise DataError(f"it has no {' or '.join(map(repr, names))}, but {', '.join(line) or 'nothing'}")


def checked(found: Any, name: str) -> str:
    """A value that must be text.

    Raises:
        DataError: It is not, or has half a character.
    """
    if not isinstance(found, str):
        raise DataError(f"{name!r} is {type(found).__name__}, not text")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name!r} has half a character ({error})") from error
    return found


def has(line: Mapping[str, Any], *names: str) -> bool:
    """Whether a line has all of these fields."""
    return all(name in line for name in names)


def choices(line: Mapping[str, Any], *names: str) -> tuple[list[str], int]:
    """The options under the first of these fields that there is, and the place of the right one.

    Options are a list of texts, `{"text": [...], "label": [...]}`, or a list of `{"text": ..., "label": ...}`; the
    right one is a number from 0 on, or a label, under `gold`, `answerKey`, `answer` or `label`.

    Raises:
        DataError: They are something else.
    """
    name = next((name for name in names if name in line), "")
    if not name:
        raise DataError(f"it has no {' or '.join(map(repr, names))}, but {', '.join(line) or 'nothing'}")
    found, labels = line[name], list[str]()
    if isinstance(found, Mapping) and has(found, "text", "label"):
        found, labels = found["text"], list(found["label"])
    elif isinstance(found, list) and found and all(isinstance(one, Mapping) and has(one, "text") for one in found):
        found, labels = [one["text"] for one in found], [one.get("label") for one in found]
    if not isinstance(found, list) or not 2 <= len(found) <= len(LETTERS):
        raise DataError(f"{name!r} is {found!r:.60}, not a list of 2 to {len(LETTERS)} options")
    return [checked(one, name) for one in found], place(line, len(found), labels)


def stem_and_choices(line: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """(question, options, place of the right one) where the question may be a text, or hold `stem` and `choices`.

    Raises:
        DataError: The line is something else.
    """
    inside = line.get("question")
    if isinstance(inside, Mapping):
        line = {**line, **inside, "question": inside.get("stem")}
    return text(line, "query", "question_stem", "question"), *choices(line, "choices")


def place(line: Mapping[str, Any], num_options: int, labels: Sequence[Any] = (), *, first: int = 0) -> int:
    """The place of the right option, from 0 on.

    Args:
        labels: What the options are called; letters from A on, or numbers, if left out.
        first: The number of the first option.

    Raises:
        DataError: It is not said, or is none of them.
    """
    name = next((name for name in ("gold", "answerKey", "answer", "label") if name in line), "")
    if not name:
        raise DataError(
            f"it does not say which option is right: it has {', '.join(line)}, and no gold, answer or label"
        )
    said = line[name]
    named = list(labels) or list(LETTERS[:num_options])
    if isinstance(said, str) and said in named:
        return named.index(said)
    try:
        number = int(said) - first
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < num_options:
        raise DataError(f"{name!r} is {said!r}, none of the {num_options} options")
    return number


def without(before: str, line: str) -> str:
    """A text without a word that some copies put before it and others do not, and without spaces around it."""
    return line.strip().removeprefix(before).strip()


def asked(question: str) -> str:
    """A question as one that is to be answered."""
    return f"Question: {without('Question:', question).removesuffix('Answer:').strip()}\nAnswer:"


def spaced(options: Sequence[str]) -> tuple[str, ...]:
    """Options as what follows a context."""
    return tuple(f" {option.strip()}" for option in options)
