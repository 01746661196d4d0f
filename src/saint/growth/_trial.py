from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from saint.grafts import Graft
from saint.records import Candidate
from saint.training import Moments, Schedule, Start


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One candidate, to be trained on one stack with one schedule."""

    candidate: Candidate
    stack: Sequence[Graft]
    schedule: Schedule
    start: Graft | None = None
    """What it goes on from; None for one that is newborn."""
    moments: Moments = field(default_factory=dict)
    """What AdamW knows of that, by site key and name in the part there; empty where it knows nothing."""

    def identity(self, *, text: str, base: str) -> dict[str, Any]:
        """What makes a trial the same one; `text` and `base` are digests."""
        identity = {
            "candidate": self.candidate,
            "stack": [graft.digest for graft in self.stack],
            "schedule": self.schedule.identity,
            "text": text,
            "base": base,
        }
        return identity if self.going_on is None else identity | {"start": self.going_on.name}

    @property
    def going_on(self) -> Start | None:
        """What it goes on from, with what AdamW knows of it; None for one that is newborn."""
        return None if self.start is None else Start(graft=self.start, moments=self.moments)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """A part of a trial's training: from one rung to the next."""

    since: int = 0
    """The step that the part before ended at."""
    until: int | None = None
    """The step of the rung that it goes to; None for the end."""

    def num_tokens(self, schedule: Schedule) -> int:
        """Tokens that it learns from at most."""
        return ((schedule.num_steps if self.until is None else self.until) - self.since) * schedule.tokens_per_step
