"""Which worker does what, for whoever watches."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self, final

from saint.progress import Progress, Task
from saint.search import Crew


@final
class Told:
    """Tells who watches what each worker does, and what became of those that are lost."""

    def __init__(self, progress: Progress, num_lost: int) -> None:
        self._progress = progress
        self._open: dict[str, tuple[int, ExitStack, Task]] = {}  # worker -> token of its lease, and its bar
        self._shown: dict[str, int] = {}
        self.num_lost = num_lost

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, bar, _ in self._open.values():
            bar.close()

    def look(self, crew: Crew) -> None:
        """Show what has changed.

        Raises:
            Interrupted: A stop was asked for.
        """
        for sentence in list(crew.said)[len(crew.said) - min(len(crew.said), crew.num_lost - self.num_lost) :]:
            self._progress.note(f"{sentence}; its work is given out again")
        self.num_lost = crew.num_lost
        busy = [(worker.name, worker.lease, worker.units) for worker in crew.workers if worker.lease is not None]
        going_on = {(name, lease.token) for name, lease, _ in busy}
        for name, (token, bar, _) in list(self._open.items()):
            if (name, token) not in going_on:
                bar.close()
                del self._open[name]
        for name, lease, units in busy:
            if name not in self._open:
                bar = ExitStack()
                described = f"{name}: {lease.job.role}, {lease.job.label}"
                task = bar.enter_context(self._progress.task(described, total=lease.job.num_units, unit="tokens"))
                self._open[name] = (lease.token, bar, task)
                self._shown[name] = 0
            more = units - self._shown[name]
            self._shown[name] = units
            self._open[name][2].advance(more)
