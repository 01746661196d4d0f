"""What long work tells whoever watches it, and how it learns that it should stop."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, final, runtime_checkable

from typing_extensions import override


@runtime_checkable
class Task(Protocol):
    """One piece of long work that is under way."""

    def advance(self, amount: int) -> None:
        """Report `amount` more units of work done.

        Raises:
            Interrupted: Whoever watches asked for a stop; save what is worth keeping and let it through.
        """
        ...


@runtime_checkable
class Progress(Protocol):
    """Whoever watches: a terminal, a log, or nobody."""

    def task(self, description: str, *, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Announce work of `total` units, None where nobody knows; it ends with the `with` block."""
        ...

    def note(self, message: str) -> None:
        """Say one line that stays."""
        ...


@final
class Silent(Progress):
    """Nobody watches."""

    def advance(self, amount: int) -> None:
        """Do nothing."""

    @override
    def task(self, description: str, *, total: int | None, unit: str) -> AbstractContextManager[Task]:
        return nullcontext(self)

    @override
    def note(self, message: str) -> None:
        pass
