"""The state at the end of the ledger, advanced by new entries instead of replayed from the first one."""

from collections.abc import Sequence
from typing import final

from saint.registry._changes import change_of
from saint.registry._ledger import Event
from saint.registry._state import State


@final
class Present:
    """Keeps one state; what it says is what a replay would."""

    def __init__(self) -> None:
        self._state, self._num, self._head = State(), 0, ""
        """And of how many entries, and the digest of the last."""

    def after(self, past: Sequence[Event]) -> State:
        """What `past` adds up to: to look at, not to keep, for it goes on with the entries (`State.snapshot` does not).

        Raises:
            LedgerError: An entry cannot follow those before it.
        """
        if self._num > len(past) or (self._num and past[self._num - 1].digest != self._head):
            self._forget()
        while self._num < len(past):
            event = past[self._num]
            change = change_of(self._state, event)
            try:
                change()
            except BaseException:  # somebody interrupted it half-way
                self._forget()
                raise
            self._num, self._head = self._num + 1, event.digest
        return self._state

    def must_precede(self, past: Sequence[Event], event: Event) -> None:
        """Refuse an event that cannot follow `past`; nothing is changed by asking.

        Raises:
            LedgerError: It cannot.
        """
        change_of(self.after(past), event)

    def _forget(self) -> None:
        self._state, self._num, self._head = State(), 0, ""
