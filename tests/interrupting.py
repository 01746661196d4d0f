"""Somebody who stops work."""

from collections.abc import Iterator
from contextlib import contextmanager

from saint.errors import Interrupted
from saint.progress import Progress, Task


class StopsAfter(Progress):
    """Somebody presses Ctrl-C after so many steps of training."""

    def __init__(self, num_tokens: int) -> None:
        self.left = num_tokens

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:  # noqa: ARG002
        yield self

    def advance(self, amount: int) -> None:
        self.left -= amount
        if self.left <= 0:
            raise Interrupted("stopped")

    def note(self, message: str) -> None:
        pass
