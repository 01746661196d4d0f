"""A Ray cluster: joined or started for one run, and looked at before any work is given to it."""

import os
import platform
import shutil
import signal
import socket
import subprocess  # the one program that it starts is this Python, to ask an address whether a cluster answers
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, final

from saint.errors import ConfigError, MissingPackageError, StorageError, WorkerError
from saint.search._code import code_digest
from saint.search._parcel import Parcel, no_room, node_root

_CONNECT_S = 5.0
_ANSWER_S = 20.0  # most of it is importing Ray
_LOOK_S = 120.0  # a process on each machine has to be started for it
_STARTS = 3
_STORE_BYTES = 1 << 28  # of the object store of a cluster of our own: what workers answer goes through it, no base
_ASK = """
import sys
import ray._raylet
from ray._common.usage import usage_lib
client = ray._raylet.GcsClient(address=sys.argv[1])
print(usage_lib.get_cluster_metadata(client)["ray_version"])
"""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a worker takes of a machine."""

    cpus: float = 1.0
    gpus: float = 0.0
    """Of the memory and time of GPUs; a fraction shares one with other workers."""
    memory_bytes: int = 0
    """Main memory that is set aside; 0 sets none aside."""

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{self.memory_bytes / 1e9:.1f} GB of memory"] if self.memory_bytes else []
        return " and ".join(parts)


def connect(address: str | None, number: int, share: Share) -> Any:
    """Join the cluster at an address, or start one here; returns the package `ray`.

    Raises:
        MissingPackageError: Ray is not installed.
        ConfigError: No cluster answers, it is of another version, or has no room for the workers.
        WorkerError: Ray could not be started here.
    """
    if find_spec("ray") is None:
        raise MissingPackageError("workers on a cluster need the package ray: pip install 'saint-g[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    if address is None:
        here = len(os.sched_getaffinity(0))
        if number * share.cpus > here:
            raise ConfigError(
                f"{number} workers with {share} each do not fit on this machine, which has {here} CPUs; give fewer --workers"
            )
        ray = _started(number, share)
    else:
        _must_answer(address)
        ray = _joined(address)
    try:
        _must_fit(ray, number, share)
    except BaseException:
        ray.shutdown()
        raise
    return ray


def must_be_ready(ray: Any, parcels: Sequence[Parcel]) -> None:
    """Ask every machine of a cluster for its version of this package, and for room for what would be brought to it.

    Raises:
        ConfigError: One has another version, or none.
        StorageError: One has no room.
        WorkerError: One does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look, own = _looker(parcels), _own_version()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        ray.remote(num_cpus=0, max_retries=0)(look)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote()
        for node in nodes
    ]
    for node, reference in zip(nodes, asked, strict=True):
        name = node["NodeManagerHostname"]
        try:
            found = ray.get(reference, timeout=_LOOK_S)
        except ray.exceptions.RayError as error:
            raise WorkerError(f"machine {name} of the cluster does not answer ({first_line(error)})") from error
        if found.get("version") != own:
            theirs = found.get("version") or f"no saint-g that can be imported ({found.get('failure')})"
            raise ConfigError(f"machine {name} has {theirs}, this one {own}; install the same version on both")
        if found["lacking"] > found["free"]:
            raise StorageError(f"machine {name}: {no_room(found['root'], found['lacking'], found['free'])}")


def first_line(error: BaseException) -> str:
    """What Ray says in many lines, in one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _own_version() -> str:
    return f"saint-g {version('saint-g')} with code {code_digest(())[:12]} on Python {platform.python_version()}"


def _looker(parcels: Sequence[Parcel]) -> Callable[[], dict[str, Any]]:
    """A function that is sent whole, since the other machine may not have this module."""
    plain = [(parcel.folder, [tuple(file) for file in parcel.files]) for parcel in parcels]

    def look() -> dict[str, Any]:
        try:
            from saint.search import _cluster
        except ImportError as error:
            return {"failure": str(error)}
        return _cluster.seen_here(plain)

    return look


def seen_here(plain: Sequence[tuple[str, Sequence[tuple[str, int, str]]]]) -> dict[str, Any]:
    """What a machine says of itself."""
    from saint.search._parcel import ParcelFile

    root = node_root()
    parcels = [Parcel(folder, tuple(ParcelFile(*file) for file in files)) for folder, files in plain]
    return {
        "version": _own_version(),
        "root": str(root),
        "lacking": sum(parcel.lacking_bytes(root) for parcel in parcels),
        "free": shutil.disk_usage(root).free,
    }


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
                    **_QUIET,
                )
        except Exception as error:  # Ray raises the plainest there is where its processes take too long
            ray.shutdown()
            if attempt == _STARTS:
                raise WorkerError(
                    f"Ray could not be started on this machine ({first_line(error)}); it has {_ANSWER_S:g} s or so for "
                    "that: begin again when less else is running"
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
            f"the cluster at {address} cannot be joined ({first_line(error)}); the coordinator runs on one of its "
            "machines: ray start --address=... makes this one"
        ) from error
    _hush()
    return ray


_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": False}


def _must_answer(address: str) -> None:
    """Ask without Ray first, which would try for a minute or two."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(f"expected --address HOST:PORT or auto, got {address}; `ray start --head` says it")
    remedy = f"start one there: ray start --head --port={port}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address} ({error}); {remedy}") from error
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed program, and an address that was connected to
            [sys.executable, "-c", _ASK, address], capture_output=True, timeout=_ANSWER_S, text=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"something answers at {address} and is no Ray cluster, or did not say so in {_ANSWER_S:g} s; {remedy}"
        ) from error
    if asked.returncode:
        raise ConfigError(f"something answers at {address} and is no Ray cluster; {remedy}")


def _must_fit(ray: Any, number: int, share: Share) -> None:
    """Refuse more workers than all machines of the cluster have places for, whatever else they do now."""
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": float(share.memory_bytes)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = sum(
        min(int(node.get(what, 0.0) / amount + 1e-9) for what, amount in wanted.items() if amount) for node in nodes
    )
    if places < number:
        cpus = sum(node.get("CPU", 0.0) for node in nodes)
        gpus = sum(node.get("GPU", 0.0) for node in nodes)
        raise ConfigError(
            f"{number} workers with {share} each do not fit into the cluster, which has {cpus:g} CPUs and {gpus:g} GPUs "
            f"on {len(nodes)} machines, room for {places}; give fewer --workers, or join more machines"
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
    """What Ray prints of every worker that died goes into what is said of workers anyway, and not to standard output."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _silent


def _silent(*_: Any, **__: Any) -> None:
    pass
