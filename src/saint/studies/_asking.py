"""Asking workers for what is missing, and remembering how much was not."""

from collections.abc import Generator, Sequence
from typing import Generic, Protocol, TypeVar, final

from saint.search import Result

J = TypeVar("J")
_J = TypeVar("_J", contravariant=True)


class Answering(Protocol[_J]):
    """What knows of earlier results."""

    def digest(self, job: _J, /) -> str:
        """The name of what comes of a job."""
        ...

    def result(self, job: _J, /) -> Result | None:
        """What came of it, if it was done before."""
        ...


@final
class Asking(Generic[J]):
    """Yields jobs that were not done before, for a demand on workers."""

    def __init__(self, bench: Answering[J]) -> None:
        self._bench = bench
        self._known: set[str] = set()
        self._asked: set[str] = set()

    @property
    def num_known(self) -> int:
        """Jobs that were done before anything was asked for."""
        return len(self._known - self._asked)

    def all_of(self, jobs: Sequence[J]) -> Generator[list[J], list[Result], list[Result]]:
        """What came of each, in their order."""
        missing = [job for job in jobs if self._bench.result(job) is None]
        self._asked |= {self._bench.digest(job) for job in missing}
        self._known |= {self._bench.digest(job) for job in jobs}
        if missing:
            yield missing
        return [self._there(job) for job in jobs]

    def _there(self, job: J) -> Result:
        found = self._bench.result(job)
        assert found is not None  # it was asked for
        return found
