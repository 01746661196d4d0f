"""Trying many candidates; what a trial does is not this room's business."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, final

from typing_extensions import override

from saint.records import Candidate

R = TypeVar("R")


class Executor(Protocol):
    """Runs one trial per candidate, anywhere."""

    def map(self, trial: Callable[[Candidate], R], candidates: Iterable[Candidate]) -> Iterator[R]:
        """The trials' results, in the order of the candidates."""
        ...


@final
class Serial(Executor):
    """One after the other, here."""

    @override
    def map(self, trial: Callable[[Candidate], R], candidates: Iterable[Candidate]) -> Iterator[R]:
        yield from map(trial, candidates)
