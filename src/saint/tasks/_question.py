"""One question of a benchmark, as a model is asked it."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Texts that may follow a context, and which of them is right.

    Where only the context differs, as in Winograd schemas, there is one context for each option.
    """

    contexts: tuple[str, ...]
    """One for all options, or one each; may be empty where options are whole texts."""
    options: tuple[str, ...]
    """What may follow, with the space before it; of an open question the answers that are accepted, the first of them
    being the one whose likelihood is measured."""
    right: int = 0
    """The place of the right option; 0 for an open question."""
    cluster: str = ""
    """What it shares with other questions that makes them no independent observations, such as an article."""
    group: str = ""
    """The subject or phenomenon that the benchmark sorts it under."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each option after its context."""
        contexts = self.contexts * len(self.options) if len(self.contexts) == 1 else self.contexts
        return tuple(zip(contexts, self.options, strict=True))
