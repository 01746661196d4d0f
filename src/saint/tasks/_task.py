from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from saint.tasks._question import Question

Sort = Literal["choice", "word", "answer"]


class Task(ABC):
    """How one benchmark's lines become questions, and how answers are scored.

    `choice`: the option that the model holds likeliest after the context is its answer. `word`: every token of the one
    option must be the likeliest in its place. `answer`: the model writes, and is held against the accepted answers.

    A task has no settings and no data: whoever measures gives the files.
    """

    sort: ClassVar[Sort]
    reference: ClassVar[str]
    """The paper that published the benchmark: arXiv number, DOI or address."""
    licence: ClassVar[str]
    """Of the published items, for whoever goes to get them."""
    max_tokens: ClassVar[int] = 32
    """How many tokens are written at most, where the model writes; never as many as the right answer has."""

    @abstractmethod
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        """The questions on one line of a file: one, but for formats that keep a whole article together.

        Raises:
            DataError: The line is not as this benchmark's lines are; the message says what was expected.
        """
