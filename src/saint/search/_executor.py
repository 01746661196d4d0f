from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, final

from typing_extensions import override

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Does the same with many trials, anywhere."""

    def map(self, run: Callable[[T], R], trials: Iterable[T]) -> Iterator[R]:
        """The results, in the order of the trials."""
        ...


@final
class Serial(Executor):
    """One after the other, here."""

    @override
    def map(self, run: Callable[[T], R], trials: Iterable[T]) -> Iterator[R]:
        yield from map(run, trials)
