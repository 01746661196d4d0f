from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from saint.grafts import Graft, History
from saint.growth._trial import Trial
from saint.records import Candidate
from saint.training import Schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRun:
    """A control that is to be trained, and where what is unfinished of it is saved."""

    schedule: Schedule
    checkpoint: str
    """What it is known by while it is unfinished."""
    candidate: Candidate | None = None
    """LoRA at equal parameters; None for the whole base."""
    file: str = ""
    """Name of the file, among those of the controls, that the weights of the whole base go to."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ControlMade:
    """What came of a control."""

    failure: str = ""
    graft: Graft | None = None
    """Of LoRA."""
    history: History | None = None
    """Of the whole base."""


class Workforce(Protocol):
    """Others who do what growth wants done; what they say is checked before it counts. A journal is growth's own."""

    def begin_round(self, number: int) -> None:
        """Know what the work is for; for people."""
        ...

    def train(self, journal: Any, trials: Sequence[Trial]) -> None:
        """Have the trials of a round trained that are not in the ledger; each is there as soon as it was checked."""
        ...

    def train_controls(self, journal: Any, runs: Mapping[str, ControlRun]) -> dict[str, ControlMade]:
        """Have controls trained at once; those that are missing in the answer are to be trained here."""
        ...

    def validate(self, journal: Any) -> None:
        """Have what stands measured again by somebody else, by and by."""
        ...

    def close_round(self, journal: Any, number: int) -> None:
        """Write down what the round's work took."""
        ...

    def finish(self, journal: Any) -> None:
        """Wait for all that was begun by and by."""
        ...
