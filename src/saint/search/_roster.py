"""Who works, and what that takes."""

from dataclasses import dataclass
from typing import Literal, final

from saint.search._queue import Lease


@final
@dataclass(slots=True, eq=False)
class Worker:
    """One who works, for whoever looks on."""

    name: str
    place: int
    since: float
    """Seconds on the crew's clock: when it began to do what it does."""
    state: Literal["starting", "idle", "busy"] = "starting"
    lease: Lease | None = None
    """What it does; None for nothing."""
    units: int = 0
    """How far it has come with that."""
    hello: bytes = b""
    """Who it says it is."""
    num_done: int = 0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What the jobs of a role took."""

    done: int = 0
    seconds: float = 0.0
    """Of workers, from the lease to the answer, lost leases included."""
    units: int = 0
    """Of work, such as tokens; what was lost and done again counts each time."""
