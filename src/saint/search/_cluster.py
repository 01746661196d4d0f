"""A Ray cluster: joined or started for one run, and looked at before any work is given to it."""

import os
import signal
import socket
import subprocess  # the one program that it starts is this Python, to ask an address whether a cluster answers
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from saint.errors import ConfigError, MissingPackageError, StorageError, WorkerError
from saint.search._machine import own_version
from saint.search._parcel import Parcel, no_room
from saint.search._places import most_places, places_on
from saint.search._share import Share, in_gib

_CONNECT_S = 5.0
_ANSWER_S = 60.0  # most of it is importing Ray, where much else runs
_GIVE_UP_S = 5  # for Ray to be connected to
_LOOK_S = 120.0  # a process on each machine has to be started for it
_STARTS = 3
_LONG = 300  # of what is told of an error
_STORE_BYTES = 1 << 28  # of the object store of a cluster of our own: what workers answer goes through it, no base
_TOKENS = "RAY_AUTH_MODE"
_ASK = """
import sys
import ray._raylet
from ray._common.usage import usage_lib
client = ray._raylet.GcsClient(address=sys.argv[1])
print(usage_lib.get_cluster_metadata(client)["ray_version"])
"""


@final
class RayCluster:
    """Machines that work together, joined or, being this one alone, started for as long as they are needed."""

    def __init__(self, *, number: int, address: str | None = None, share: Share | None = None) -> None:
        """Join the cluster at an address, or start one here, without a dashboard.

        Args:
            number: Of workers at a time.
            address: `HOST:PORT`, or `auto` for the one that runs on this machine; None starts one.
            share: What a worker takes; one CPU unless given.

        Raises:
            MissingPackageError: Ray is not installed.
            ConfigError: No cluster answers, it is of another version, or has no places for the workers.
            WorkerError: Ray could not be started here.
        """
        self.share, self.is_own = share or Share(), address is None
        self._tokens = os.environ.get(_TOKENS)
        if find_spec("ray") is None:
            raise MissingPackageError("workers on a cluster need the package ray: pip install 'saint-g[ray]'")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        if address is None:
            _must_fit_here(number, self.share)
            self.ray = _started(number, self.share)
        else:
            address = found_here() if address == "auto" else address
            _must_answer(address)
            self.ray = _joined(address)
        try:
            self.num_waiting = _must_fit(self.ray, number, self.share)
            """Workers whose machines Ray has yet to start."""
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Be no part of it any more; one that was started ends."""
        if self.ray.is_initialized():
            self.ray.shutdown()
        _give_token(self._tokens)

    def look(self, parcels: Sequence[Parcel], shared: Path) -> bool:
        """Ask every machine for its version of this package, and for room for what would be brought to it.

        Args:
            shared: A folder of this machine, which can be written.

        Returns:
            Whether every machine sees that folder; machines that have yet to be started are taken not to.

        Raises:
            ConfigError: One has another version, or none.
            StorageError: One has no room.
            WorkerError: One does not answer.
        """
        if self.is_own:
            return True
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        with tempfile.NamedTemporaryFile(dir=shared, prefix=".seen-") as mark:
            look = self.ray.remote(num_cpus=0, max_retries=0)(_looker(parcels, mark.name))
            asked = [
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
                for node in nodes
            ]
            found = [self._answer(node, reference) for node, reference in zip(nodes, asked, strict=True)]
        return not self.num_waiting and all(one["sees"] for one in found)

    def _answer(self, node: dict[str, Any], reference: Any) -> dict[str, Any]:
        name, own = node["NodeManagerHostname"], own_version()
        try:
            found: dict[str, Any] = self.ray.get(reference, timeout=_LOOK_S)
        except self.ray.exceptions.RayError as error:
            raise WorkerError(f"machine {name} of the cluster does not answer ({in_short(error)})") from error
        if found.get("version") != own:
            theirs = found.get("version") or f"no saint-g that can be imported ({found.get('failure')})"
            raise ConfigError(f"machine {name} has {theirs}, this one {own}; install the same version on both")
        if found["lacking"] > found["free"]:
            raise StorageError(f"machine {name}: {no_room(found['root'], found['lacking'], found['free'])}")
        return found


def in_short(error: BaseException) -> str:
    """What Ray says in many lines: of a task the error that ended it, of an actor how its process ended."""
    cause = getattr(error, "cause", None)
    told = error if cause is None else cause
    text = " ".join(str(told).split()) or type(told).__name__
    _, _, detail = text.partition("Worker exit detail: ")
    return (detail or text).split(". ")[0].split("(1)")[0].strip(" .")[:_LONG]


def _looker(parcels: Sequence[Parcel], mark: str) -> Callable[[], dict[str, Any]]:
    """A function that is sent whole, since the other machine may not have this module."""
    plain = [(parcel.folder, [(file.name, file.num_bytes, file.sha256) for file in parcel.files]) for parcel in parcels]

    def look() -> dict[str, Any]:
        try:
            from saint.search import _machine
        except ImportError as error:
            return {"failure": str(error)}
        return _machine.seen_here(plain, mark)

    return look


def _must_fit_here(number: int, share: Share) -> None:
    here = len(os.sched_getaffinity(0))
    if number * share.cpus > here:
        raise ConfigError(
            f"{number} workers with {share} each do not fit on this machine with its {here} CPUs; give fewer --workers"
        )


def _started(number: int, share: Share) -> Any:
    import ray

    cpus = max(1, round(number * share.cpus + 0.5 - 1e-9))
    for attempt in range(1, _STARTS + 1):
        try:
            with _own_signals():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    **({"_memory": number * share.memory_bytes} if share.memory_bytes else {}),
                    **_QUIET,
                )
        except Exception as error:  # Ray raises the plainest there is where its processes take too long
            ray.shutdown()
            if attempt == _STARTS:
                raise WorkerError(
                    f"Ray could not be started on this machine ({in_short(error)}); they have half a minute, so "
                    "begin again when less else is running"
                ) from error
        else:
            break
    _hush()
    return ray


def _joined(address: str) -> Any:
    import ray

    try:
        with _own_signals():
            ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        text = " ".join(str(error).split())
        if "ersion mismatch" in text:
            raise ConfigError(
                f"the cluster at {address} is of another version ({text}); install the same Ray and Python on both"
            ) from error
        raise ConfigError(
            f"the cluster at {address} cannot be joined ({in_short(error)}); the coordinator runs on one of its "
            "machines: ray start --address=... makes this one"
        ) from error
    _hush()
    return ray


_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": False}


def _must_answer(address: str) -> None:
    """Ask without Ray first, which would try for a minute or two, and find out whether the cluster wants a token.

    Since 2.60 `ray start` makes a cluster that wants one wherever there is one, and whoever gives it to a cluster that
    wants none has its actors cancelled; Ray does not look which of both a cluster with an address is.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(f"expected --address HOST:PORT or auto, got {address}; `ray start --head` says it")
    remedy = f"start one there: ray start --head --port={port}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address} ({error}); {remedy}") from error
    for mode in ("disabled", "token"):
        try:
            asked = subprocess.run(  # noqa: S603 - a fixed program, and an address that was connected to
                [sys.executable, "-c", _ASK, address],
                env={**os.environ, _TOKENS: mode, "RAY_py_gcs_connect_timeout_s": f"{_GIVE_UP_S}"},
                capture_output=True,
                timeout=_ANSWER_S,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"something answers at {address} and is no Ray cluster, or did not say so in {_ANSWER_S:g} s; {remedy}"
            ) from error
        if not asked.returncode:
            _give_token(mode)
            return
        if "uthentication" not in asked.stderr:
            raise ConfigError(f"something answers at {address} and is no Ray cluster; {remedy}")
    raise ConfigError(
        f"the cluster at {address} wants a token that is not here; on the machine where it was started `ray "
        "get-auth-token` says it, and here RAY_AUTH_TOKEN may hold it"
    )


def _give_token(mode: str | None) -> None:
    """Tell Ray, which may be loaded already, whether to give its token; None for its own mind."""
    if mode is None:
        os.environ.pop(_TOKENS, None)
    else:
        os.environ[_TOKENS] = mode
    raylet: Any = import_module("ray._raylet")
    raylet.Config.initialize("")


def found_here() -> str:
    """The address of the cluster that runs on this machine: the one that RAY_ADDRESS says, else the one that there is.

    Ray itself is never told `auto`: it cancelled actors of a driver that joined so (2.60).

    Raises:
        ConfigError: There is none, or several.
    """
    if (said := os.environ.get("RAY_ADDRESS", "")) not in ("", "auto", "local"):
        return said
    from ray._private.services import find_bootstrap_address, find_gcs_addresses

    running: set[str] = set(find_gcs_addresses())
    if (last := find_bootstrap_address(None)) in running or (not running and last):
        return str(last)  # what `ray start` wrote down
    if len(running) == 1:
        return running.pop()
    found = f"several, {' and '.join(sorted(running))}" if running else "none"
    raise ConfigError(
        f"--address auto is of the one Ray cluster on this machine, and there is {found}; give --address HOST:PORT, or "
        "start one: ray start --head --port=6379"
    )


def _must_fit(ray: Any, number: int, share: Share) -> int:
    """Refuse more workers than all machines have places for, whatever else they do now, and those that may be started.

    Returns:
        How many have to wait for such.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = places_on(nodes, share)
    if places >= number:
        return 0
    most = most_places(share)
    if most >= number:
        return number - places
    cpus, gpus, memory = (sum(node.get(what, 0.0) for node in nodes) for what in ("CPU", "GPU", "memory"))
    scaled = f", and for {most:g} on all that its autoscaler may start" if most else ""
    raise ConfigError(
        f"{number} workers with {share} each do not fit into the cluster, which has {cpus:g} CPUs, {gpus:g} GPUs and "
        f"{in_gib(memory)} of memory on {len(nodes)} machines, room for {places}{scaled}; give fewer --workers, or "
        "join more machines"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes over the signal that asks for an end; whoever runs this has their own way of ending."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _hush() -> None:
    """What Ray prints of every worker that died is said of it anyway, and not on standard output."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _silent


def _silent(*_: Any, **__: Any) -> None:
    pass
