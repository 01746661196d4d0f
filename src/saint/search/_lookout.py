"""What a coordinator says to those who look on, and hears from them, after each turn of its crew."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, final

from typing_extensions import override

from saint.errors import Interrupted
from saint.progress import Progress, Task
from saint.search._crew import Crew
from saint.search._roster import Worker
from saint.search._status import Control, RoleStatus, SearchStatus, StatusFile, Word, WorkerStatus


@final
class Lookout:
    """A crew's `watch`: says how the crew stands, and does what is asked of it."""

    def __init__(self, work: Path, *, executor: str) -> None:
        """Begin to listen: what was asked of an earlier coordinator is forgotten.

        Args:
            work: The registry's folder for work in progress.
            executor: What the workers are, for people.
        """
        self._file, self._control = StatusFile(work), Control(work)
        self._control.asked()
        self._executor, self._started = executor, time.time()
        self._crew: Crew | None = None
        self.round: int | None = None
        """The round that is grown, counted from 0; for people."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crew is not None:
            crew = self._crew
            self._file.show(lambda: self._status(crew, ended=True), at_once=True)

    def __call__(self, crew: Crew) -> None:
        """Look at the control file, and write the status if it is time.

        Raises:
            Interrupted: A stop was asked for.
        """
        self._crew = crew
        word = self._control.asked()
        if word is Word.STOP:
            raise Interrupted("stopped where it can go on; run the same command again to continue")
        if word is not None:
            crew.is_paused = word is Word.PAUSE
        self._file.show(lambda: self._status(crew), at_once=word is not None)

    def _status(self, crew: Crew, *, ended: bool = False) -> SearchStatus:
        now = time.time()
        passed = now - crew.clock()  # its clock may have begun at any time
        efforts = crew.efforts.items()
        return SearchStatus(
            pid=os.getpid(),
            host=socket.gethostname(),
            executor=self._executor,
            started=self._started,
            written=now,
            round=self.round,
            paused=crew.is_paused,
            ended=ended,
            workers=tuple(_described(worker, since=worker.since + passed) for worker in crew.workers),
            jobs={str(stage): count for stage, count in crew.queue.counts.items()},
            roles={str(role): RoleStatus(done=one.done, seconds=one.seconds, units=one.units) for role, one in efforts},
            lost=crew.queue.num_lost,
            refused=crew.num_refused,
            said=tuple(crew.said),
        )


@final
class Attentive(Progress):
    """Progress of work that a coordinator does itself, during which it goes on looking out."""

    def __init__(self, shown: Progress, look: Callable[[], None]) -> None:
        """Show what `shown` shows, and call `look` whenever the work has come further; what it raises ends the work."""
        self._shown, self._look = shown, look

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        with self._shown.task(description, total=total, unit=unit) as task:
            yield _Step(task, self._look)

    @override
    def note(self, message: str) -> None:
        self._shown.note(message)


@final
class _Step(Task):
    def __init__(self, shown: Task, look: Callable[[], None]) -> None:
        self._shown, self._look = shown, look

    @override
    def advance(self, amount: int) -> None:
        self._shown.advance(amount)
        self._look()


def _described(worker: Worker, *, since: float) -> WorkerStatus:
    seen = WorkerStatus(name=worker.name, state=worker.state, since=since, done=worker.num_done)
    if worker.lease is None:
        return seen
    job = worker.lease.job
    return replace(seen, role=str(job.role), job=job.name, label=job.label, group=job.group, units=worker.units)
