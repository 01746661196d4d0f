"""What runs in the processes of a Ray cluster: workers, and whoever reads files to machines that do not have them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, final

from typing_extensions import override

from saint.errors import Interrupted, SaintError, WorkerError
from saint.progress import Progress, Task
from saint.search._executor import Bench, OpenBench
from saint.search._message import described_error, pack
from saint.search._parcel import Parcel, node_root
from saint.search._processes import answered

Opening = Callable[[Sequence[Path]], OpenBench]
"""Given the folders of the parcels, as they lie on a worker's machine, how its bench is opened there; can be sent."""


@final
class Labourer:
    """A worker: does jobs in a thread of its own, and is asked by whoever hired it what there is to say."""

    def __init__(self, opening: Opening, parcels: Sequence[Parcel], shelf: Any) -> None:
        """Begin to open the bench.

        Args:
            shelf: Handle of the actor that reads files; None where all are on this machine.
        """
        self._voice = _Voice()
        self._jobs: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(opening, parcels, shelf), daemon=True)
        self._thread.start()

    def listen(self, patience_s: float) -> list[bytes]:
        """The messages since; waits for one up to `patience_s` seconds, and then says that it is alive.

        Raises:
            WorkerError: There is nothing to come any more.
        """
        said = self._voice.hear(patience_s)
        if not said and not self._thread.is_alive():
            raise WorkerError("it has ended without a word")
        return said

    def do(self, token: int, body: Any) -> None:
        """Take a job."""
        self._jobs.put((token, body))

    def stop(self, patience_s: float) -> None:
        """Save what is under way at the end of a step, and begin nothing more."""
        self._voice.is_unheard = True
        self._jobs.put(None)
        self._thread.join(patience_s)

    def _work(self, opening: Opening, parcels: Sequence[Parcel], shelf: Any) -> None:
        try:
            bench = _opened(opening, parcels, shelf, self._voice)
            self._voice.say({"what": "ready"}, [bench.hello()])
            while (job := self._jobs.get()) is not None:
                token, body = job
                with self._voice.at_work(token):
                    answer, pieces = answered(bench, body)
                self._voice.say({**answer, "token": token}, pieces)
        except Interrupted:
            return
        except SaintError as error:
            self._voice.say({"what": "error", "error": described_error(error)})
        except Exception as error:  # a thread's errors are nobody's otherwise
            unexpected = WorkerError(f"a worker could not begin ({type(error).__name__}: {error})")
            self._voice.say({"what": "error", "error": described_error(unexpected)})


@final
class Shelf:
    """Reads the files of parcels, and no others, to machines that do not have them."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self._parcels: Mapping[str, Parcel] = {parcel.digest: parcel for parcel in parcels}

    def read(self, parcel: str, name: str, offset: int) -> bytes:
        """A piece of a file."""
        return self._parcels[parcel].read(name, offset)


def _opened(opening: Opening, parcels: Sequence[Parcel], shelf: Any, voice: Progress) -> Bench:
    root = node_root()
    folders = [parcel.settle(_fetch(shelf, parcel.digest), root) for parcel in parcels]
    return opening(folders)(voice)


def _fetch(shelf: Any, parcel: str) -> Callable[[str, int], bytes] | None:
    if shelf is None:
        return None
    import ray

    def fetch(name: str, offset: int) -> bytes:
        try:
            piece: bytes = ray.get(shelf.read.remote(parcel, name, offset))
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"{name} could not be brought from the coordinator's machine ({_first(error)})"
            ) from error
        return piece

    return fetch


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@final
class _Voice(Progress):
    """Keeps what a worker says until it is asked for."""

    def __init__(self) -> None:
        self._said: SimpleQueue[bytes] = SimpleQueue()
        self._lock = threading.Lock()
        self._token: int | None = None
        self._units = 0
        self.is_unheard = False

    def say(self, header: dict[str, object], pieces: Sequence[bytes] = ()) -> None:
        self._said.put(pack(header, pieces))

    def hear(self, patience_s: float) -> list[bytes]:
        said: list[bytes] = []
        try:
            said.append(self._said.get(timeout=patience_s))
            while True:
                said.append(self._said.get_nowait())
        except Empty:
            pass
        with self._lock:
            if self._token is not None:
                said.append(pack({"what": "beat", "token": self._token, "units": self._units}))
                self._units = 0
        return said

    @contextmanager
    def at_work(self, token: int) -> Iterator[None]:
        """Say with everything that the job is in hand."""
        with self._lock:
            self._token, self._units = token, 0
        try:
            yield
        finally:
            with self._lock:
                if self._units:  # before what came of it
                    self.say({"what": "beat", "token": token, "units": self._units})
                self._token, self._units = None, 0

    def advance(self, amount: int) -> None:
        """Report units of work.

        Raises:
            Interrupted: Nobody wants them any more.
        """
        with self._lock:
            self._units += amount
        if self.is_unheard:
            raise Interrupted("the work was stopped")

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        yield self

    @override
    def note(self, message: str) -> None:
        pass
