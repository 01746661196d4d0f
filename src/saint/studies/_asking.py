"""Asking workers for what is missing, and remembering how much was not."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, final

import torch

from saint.progress import Progress, Task
from saint.search import Demand, PlainBench, Result, Workers

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


def workers_at(
    make_bench: Callable[[Progress], PlainBench], num_workers: int, prepare: Callable[[], None] | None
) -> Workers:
    """Worker processes, each at a bench of its own.

    Args:
        make_bench: A class or function of a module, or a partial of one.
        prepare: A function of a module, called first in each process.
    """
    return Workers(num_workers, partial(_open, make_bench, prepare))


def fulfilled(demands: Sequence[Demand], workers: Workers, task: Task) -> list[Any]:
    """What each demand returns once all its jobs are done; the task is told of the tokens."""
    return workers.fulfil(demands, tell=lambda _, num: task.advance(num), done=lambda _: None)


def _open(
    make_bench: Callable[[Progress], PlainBench], prepare: Callable[[], None] | None, progress: Progress
) -> PlainBench:
    """What a worker process loads; it has one thread, for processes share the cores better than threads do."""
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    return make_bench(progress)
