from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

from saint.progress import Progress
from saint.search._queue import Lease


class Heard(NamedTuple):
    """What a worker says, or what is said of it."""

    worker: str
    what: Literal["waiting", "ready", "beat", "done", "error", "gone"]
    """`waiting`: it has no machine yet, and is not late for that; `ready`: it can work, and says with `value`, bytes,
    who it is; `beat`: it is alive, and has come `value` units of work further; `done`: `value`, bytes, came of its job;
    `error`: `value`, a `SaintError`, ended its job or, without a token, kept it from being ready, and is a
    `RefusedResultError` where what came of the job is too long to be read; `gone`: it died, and `value` says how."""
    token: int = 0
    """Of the lease that it speaks of."""
    value: Any = None


class Executor(Protocol):
    """Workers somewhere: in other processes, or on a cluster. It never decides what is done."""

    def hire(self) -> str:
        """Start a worker and return its name, which no other ever has; `ready` is heard from it when it can work."""
        ...

    def hand(self, lease: Lease) -> None:
        """Give a worker that is ready the body of a job; one that died meanwhile is heard of as `gone`."""
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


class Bench(Protocol):
    """What a worker opens once, to do one job after the other on it."""

    def hello(self) -> bytes:
        """Who the worker is: whoever gives it work looks at that first."""
        ...

    def do(self, body: Any) -> bytes:
        """Do the job that the body tells of, and return what came of it.

        Raises:
            SaintError: It cannot be done.
            Interrupted: Nobody wants it any more.
        """
        ...


OpenBench = Callable[[Progress], Bench]
"""A function of a module, or a partial of one, so that it can be sent: called once in each worker. What the worker does
is told to its progress in units of work; that raises `Interrupted` where nobody wants it any more."""
