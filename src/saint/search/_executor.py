from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

from saint.search._queue import Lease


class Heard(NamedTuple):
    """What a worker says, or what is said of it."""

    worker: str
    what: Literal["ready", "beat", "done", "error", "gone"]
    """`ready`: it wants a job; `beat`: it is alive, and has come `value` units of work further; `done`: `value` came of
    its job; `error`: `value`, an exception, ended its job; `gone`: it died, and `value` says how."""
    token: int = 0
    """Of the lease that it speaks of."""
    value: Any = None


class Executor(Protocol):
    """Workers somewhere: in this process, in others, or on a cluster. It never decides what is done."""

    def hire(self) -> str:
        """Start a worker and return its name, which no other ever has; `ready` is heard from it when it can work."""
        ...

    def hand(self, lease: Lease) -> None:
        """Give a worker that is ready a job; one that died meanwhile is heard of as `gone`."""
        ...

    def hear(self, patience_s: float) -> Iterator[Heard]:
        """What was said since; waits for something up to `patience_s` seconds."""
        ...

    def dismiss(self, worker: str) -> None:
        """End a worker at once, whatever it does; nothing is heard from it any more."""
        ...

    def close(self) -> None:
        """End all: each saves what is under way, as far as it can."""
        ...
