"""Workers that are processes of this machine: started anew, not forked, and spoken to over pipes."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, final

from typing_extensions import override

from saint.errors import Interrupted, RefusedResultError, SaintError, WorkerError
from saint.progress import Progress, Task
from saint.search._executor import Bench, Executor, Heard, OpenBench
from saint.search._message import described_error, pack, told_error, unpack
from saint.search._queue import Lease

_PATIENCE_S = 20.0  # for a worker to come to the end of a step
_BEAT_S = 2.0  # a worker is heard of at least so often
_TOGETHER_S = 0.1  # and of its progress at most so often
_SMALL_BYTES = 1 << 20  # all that is said but for what came of a job


@final
@dataclass(slots=True, eq=False)
class _Hand:
    name: str
    process: BaseProcess
    pipe: Connection
    place: int
    """Among the environments; no other that lives has it."""
    token: int = 0
    """Of the lease that it has; 0 for none yet."""
    at_most_bytes: int | None = _SMALL_BYTES


@final
class Processes(Executor):
    """Workers in processes of their own."""

    def __init__(self, open_bench: OpenBench, environments: Sequence[Mapping[str, str]] = ()) -> None:
        """Describe them.

        Args:
            open_bench: Called in each process.
            environments: Variables of the environment that each of them has besides, such as which GPU it sees; who
                replaces one that died has those that it had.
        """
        self._open_bench, self._environments = open_bench, list(environments)
        self._hands: dict[str, _Hand] = {}
        self._num_hired = 0

    def process_of(self, worker: str) -> BaseProcess:
        """The process that a worker is."""
        return self._hands[worker].process

    @override
    def hire(self) -> str:
        context = get_context("spawn")
        self._num_hired += 1
        name = f"worker {self._num_hired}"
        ours, theirs = context.Pipe()
        taken = {hand.place for hand in self._hands.values()}
        place = next(place for place in range(len(taken) + 1) if place not in taken)
        environment = dict(self._environments[place]) if place < len(self._environments) else {}
        with _ignoring_ctrl_c():  # the child inherits it: a stop reaches it through its pipe
            process = context.Process(target=_serve, args=(theirs, self._open_bench, environment), daemon=True)
            process.start()
        theirs.close()
        self._hands[name] = _Hand(name, process, ours, place)
        return name

    @override
    def hand(self, lease: Lease) -> None:
        hand, most = self._hands[lease.worker], lease.job.at_most_bytes
        hand.token = lease.token
        hand.at_most_bytes = None if most is None else most + _SMALL_BYTES
        try:
            hand.pipe.send((lease.token, lease.job.body))
        except OSError:
            return  # it has died, which is heard next

    @override
    def hear(self, patience_s: float) -> Iterator[Heard]:
        speaking = wait([hand.pipe for hand in self._hands.values()], patience_s)
        for hand in [hand for hand in self._hands.values() if hand.pipe in speaking]:
            while hand.name in self._hands and not hand.pipe.closed and (heard := _hear(hand)) is not None:
                yield heard
                if heard.what == "gone":
                    break

    @override
    def dismiss(self, worker: str) -> None:
        hand = self._hands.pop(worker)
        hand.process.kill()
        hand.process.join()
        hand.pipe.close()

    @override
    def close(self) -> None:
        for hand in self._hands.values():
            hand.pipe.close()  # a worker saves what is under way and ends
        until = time.monotonic() + _PATIENCE_S
        for hand in self._hands.values():
            hand.process.join(max(0.0, until - time.monotonic()))
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
        self._hands.clear()


def _hear(hand: _Hand) -> Heard | None:
    """What a worker says next; None where it says nothing now."""
    try:
        if not hand.pipe.poll():
            return None
        message = hand.pipe.recv_bytes(hand.at_most_bytes)
    except EOFError:
        hand.process.join(_PATIENCE_S)
        code = hand.process.exitcode
        killed = f"ended by signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        return Heard(hand.name, "gone", value=f"it died, {killed}")
    except OSError as error:
        hand.pipe.close()  # it is of no use any more: it would say the same for ever
        return unread(hand.name, hand.token, f"what it said could not be read, perhaps for its length ({error})")
    try:
        return understood(hand.name, message)
    except (RefusedResultError, KeyError, ValueError, TypeError) as error:
        return unread(hand.name, hand.token, f"what it said is no message ({error})")


def unread(worker: str, token: int, why: str) -> Heard:
    """Of a worker, maybe with a lease, that says what nobody can read."""
    if token:
        return Heard(worker, "error", token, RefusedResultError(why))
    return Heard(worker, "gone", value=why)


def understood(worker: str, message: bytes) -> Heard:
    """What a message says.

    Raises:
        RefusedResultError, KeyError, ValueError, TypeError: It is none.
    """
    header, pieces = unpack(message)
    what, token = header["what"], _whole(header.get("token", 0))
    if what == "beat":
        return Heard(worker, what, token, max(0, _whole(header["units"])))
    if what in ("ready", "done"):
        [piece] = pieces
        return Heard(worker, what, token, piece)
    if what == "error":
        return Heard(worker, what, token, told_error(header["error"]))
    raise ValueError(f"{what!r} is nothing that a worker says")


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"expected a whole number, got {str(number)[:40]}")
    return number


def _serve(pipe: Connection, open_bench: OpenBench, environment: Mapping[str, str]) -> None:
    """Do jobs until whoever hired this process hangs up."""
    os.environ.update(environment)  # what is imported by now looks at a GPU when it is first used
    voice = _Voice(pipe)
    try:
        bench = open_bench(voice)
        voice.say({"what": "ready"}, [bench.hello()])
        while True:
            token, body = pipe.recv()
            with voice.at_work(token):
                answer, pieces = answered(bench, body)
            voice.say({**answer, "token": token}, pieces)
    except (EOFError, OSError, Interrupted):
        return  # nobody listens any more
    except SaintError as error:
        voice.say({"what": "error", "error": described_error(error)})


def answered(bench: Bench, body: Any) -> tuple[dict[str, object], list[bytes]]:
    """What a worker says once it has done a job, or failed at it: the header and the pieces of a message.

    Raises:
        Interrupted: Nobody wants it any more.
    """
    try:
        return {"what": "done"}, [bench.do(body)]
    except Interrupted:
        raise
    except SaintError as error:
        return {"what": "error", "error": described_error(error)}, []
    except Exception as error:  # whoever gave the job has to know, and this process ends by its hand
        unexpected = WorkerError(f"a worker failed as nobody expected ({type(error).__name__}: {error})")
        return {"what": "error", "error": described_error(unexpected)}, []


@final
class _Voice(Progress):
    """Speaks for a worker: of units done, and that it is alive where there is nothing else to say."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self._token = 0
        self._units, self._said = 0, 0.0

    def say(self, header: dict[str, object], pieces: list[bytes] | None = None) -> None:
        with self._lock:
            self._pipe.send_bytes(pack(header, pieces or []))

    @contextmanager
    def at_work(self, token: int) -> Iterator[None]:
        """Say now and then that the job is in hand; end the process where nobody listens and no step ends."""
        done = threading.Event()
        self._token, self._units, self._said = token, 0, time.monotonic()
        beating = threading.Thread(target=self._beat, args=(done,), daemon=True)
        beating.start()
        try:
            yield
        finally:
            done.set()
            beating.join()

    def advance(self, amount: int) -> None:
        """Report units of work.

        Raises:
            Interrupted: Whoever hired this process is gone, or wants no more.
        """
        with self._lock:
            self._units += amount
        if self._is_gone(_TOGETHER_S):
            raise Interrupted("the work was stopped")

    def _beat(self, done: threading.Event) -> None:
        until: float | None = None
        while not done.wait(_BEAT_S):
            if self._is_gone(_BEAT_S):
                until = until or time.monotonic() + _PATIENCE_S
                if time.monotonic() > until:
                    os._exit(1)

    def _is_gone(self, after_s: float) -> bool:
        """Say how much was done unless that was said just now; whether nobody listens."""
        with self._lock:
            try:
                if time.monotonic() - self._said >= after_s:
                    self._pipe.send_bytes(pack({"what": "beat", "token": self._token, "units": self._units}))
                    self._units, self._said = 0, time.monotonic()
                return self._pipe.poll()  # nothing is told to a worker that is at work: it is the end that is there
            except OSError:
                return True

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        yield self

    @override
    def note(self, message: str) -> None:
        pass


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
