from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from saint.grafts import Graft
from saint.records import Candidate
from saint.training import Schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One candidate, to be trained on one stack with one schedule."""

    candidate: Candidate
    stack: Sequence[Graft]
    schedule: Schedule
    start: Graft | None = None
    """What it goes on from; None for one that is newborn."""

    def identity(self, *, text: str, base: str) -> dict[str, Any]:
        """What makes a trial the same one; `text` and `base` are digests."""
        identity = {
            "candidate": self.candidate,
            "stack": [graft.digest for graft in self.stack],
            "schedule": self.schedule.identity,
            "text": text,
            "base": base,
        }
        return identity if self.start is None else identity | {"start": self.start.digest}
