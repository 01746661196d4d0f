"""Workers that do what a test says, in no process at all, and a bench for those that are processes."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from saint.errors import ConfigError
from saint.progress import Progress, Silent
from saint.search import Bench, Executor, Heard, Lease, OpenBench

Work = Callable[[Lease], list[Heard]]


def honestly(lease: Lease) -> list[Heard]:
    """It comes further, and answers with the body."""
    return [
        Heard(lease.worker, "beat", lease.token, 5),
        Heard(lease.worker, "done", lease.token, str(lease.job.body).encode()),
    ]


class Troupe(Executor):
    """Workers, each of whom answers at once as its `work` says."""

    def __init__(self, *works: Work, hello: bytes = b"one of ours") -> None:
        """Describe them.

        Args:
            works: Of the first worker that is hired, of the second, and so on; then all are honest.
        """
        self._works, self._hello = deque(works), hello
        self._said: deque[Heard] = deque()
        self._of: dict[str, Work] = {}
        self.hired: list[str] = []
        self.dismissed: list[str] = []
        self.handed: list[Lease] = []

    @override
    def hire(self) -> str:
        name = f"worker {len(self.hired) + 1}"
        self.hired.append(name)
        self._of[name] = self._works.popleft() if self._works else honestly
        self._said.append(Heard(name, "ready", value=self._hello))
        return name

    @override
    def hand(self, lease: Lease) -> None:
        self.handed.append(lease)
        self._said.extend(self._of[lease.worker](lease))

    def say(self, heard: Heard) -> None:
        """Have something be heard next."""
        self._said.append(heard)

    @override
    def hear(self, patience_s: float) -> Iterator[Heard]:
        for _ in range(len(self._said)):
            yield self._said.popleft()

    @override
    def dismiss(self, worker: str) -> None:
        self.dismissed.append(worker)

    @override
    def close(self) -> None:
        pass


class Counting(Bench):
    """Counts up to a number, and dies once on the way where a file says so."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @override
    def hello(self) -> bytes:
        return str(os.getpid()).encode()

    @override
    def do(self, body: Any) -> bytes:
        with self._progress.task("counting", total=body["to"], unit="numbers") as task:
            for _ in range(body["to"]):
                task.advance(1)
        time.sleep(body.get("for_s", 0))
        if body.get("fail"):
            raise ConfigError("no such number")
        if body.get("die_once") and not (mark := Path(body["die_once"])).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if body.get("stumble"):
            raise RuntimeError("fell over")
        if body.get("long_once") and not (mark := Path(body["long_once"])).exists():
            mark.touch()
            return b"x" * (3 << 20)
        return os.environ[body["variable"]].encode() if "variable" in body else b"x" * body.get("num_bytes", 1)


def counting(progress: Progress) -> Bench:
    """Open a bench that counts."""
    return Counting(progress)


def counting_anywhere(_folders: Sequence[Path]) -> OpenBench:
    """Open a bench that counts, wherever it is."""
    return counting


class Reading(Counting):
    """Says what the files of a folder hold, and counts if it is asked for no file."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        super().__init__(progress)
        self._folder = folder

    @override
    def do(self, body: Any) -> bytes:
        return (self._folder / body["read"]).read_bytes() if "read" in body else super().do(body)


def reading(folders: Sequence[Path]) -> OpenBench:
    """Open a bench that reads in the only folder."""
    [folder] = folders
    return partial(Reading, folder)


def refusing(_progress: Progress) -> Bench:
    """Open nothing."""
    raise ConfigError("this machine has another base")


def refusing_anywhere(_folders: Sequence[Path]) -> OpenBench:
    """Open nothing, wherever it is."""
    return refusing


def with_a_gpu(_progress: Progress) -> Bench:
    """Open what a worker that was promised half a GPU opens."""
    from saint.growth._gpus import device_for  # which loads PyTorch

    device_for(0.5)
    return Counting(Silent())


def with_a_gpu_anywhere(_folders: Sequence[Path]) -> OpenBench:
    """Open it wherever it is."""
    return with_a_gpu


@dataclass(frozen=True)
class Number:
    """A job of a study."""

    value: int


class Doubling:
    """A study's bench."""

    def do(self, job: Number) -> dict[str, int]:
        """Twice the number."""
        return {"twice": 2 * job.value}


def doubling(_progress: Progress) -> Doubling:
    """Open a study's bench."""
    return Doubling()
