"""Which trials of a round go on to where: those of a bracket wait for each other at rungs, and for nobody else."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int64

from saint.growth._marks import Mark, Marks
from saint.training import Rung, no_number_at, stopped_at


class Next(NamedTuple):
    """What is to be trained next."""

    name: str
    """Of the trial."""
    until: int | None
    """The step of a rung; None for the end."""


@final
class Race:
    """The trials of one bracket; what comes of them does not depend on who comes to a rung first."""

    def __init__(
        self,
        names: Sequence[str],
        rungs: Sequence[Rung],
        *,
        num_steps: int,
        num_bytes: Int64[np.ndarray, " documents"],
        marks: Mapping[str, Marks],
    ) -> None:
        """Describe it.

        Args:
            names: Of the trials, in the order in which they are given.
            num_steps: Of their schedule.
            num_bytes: UTF-8 bytes of each document of *select*.
            marks: Name -> what is known of it, looked at anew each time.
        """
        self._left, self._rungs = list(names), deque(rungs)
        self._num_steps, self._num_bytes, self._marks = num_steps, num_bytes, marks
        self._asked: set[Next] = set()
        self.stopped: dict[str, str] = {}
        """Why each that lost was stopped."""
        self.failed: dict[str, str] = {}
        """Why each that came to a rung failed there."""

    def go_on(self) -> list[Next]:
        """What may be trained now and was not asked for before."""
        while self._rungs and len(self._left) > 1:
            step = self._rungs[0].step_of(self._num_steps)
            if missing := [name for name in self._left if not self._marks[name].knows(step)]:
                return self._new(missing, step)
            there = {name: mark for name in self._left if (mark := self._marks[name].at(step)) is not None}
            self._left = self._promoted(there, self._rungs.popleft()) if len(there) > 1 else list(there)
        return self._new(self._left, None)

    def _promoted(self, there: Mapping[str, Mark], rung: Rung) -> list[str]:
        nats = {name: np.array(mark.nats) for name, mark in there.items() if mark.nats is not None}
        self.failed |= {name: no_number_at(rung.step_of(self._num_steps)) for name in there if name not in nats}
        if len(nats) < 2:
            return list(nats)
        why = dict(zip(nats, stopped_at(list(nats.values()), self._num_bytes, rung, self._num_steps), strict=True))
        self.stopped |= {name: reason for name, reason in why.items() if reason}
        return [name for name, reason in why.items() if not reason]

    def _new(self, names: Sequence[str], until: int | None) -> list[Next]:
        wanted = [Next(name, until) for name in names]
        new = [one for one in wanted if one not in self._asked]
        self._asked |= set(new)
        return new
