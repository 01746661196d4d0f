import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import final

from typing_extensions import override

from saint.errors import ConfigError

_GIB = 1 << 30
_KIB = 1024
_CGROUPS = (  # limit, what is used, what of, and which of that are files, which the kernel gives back when asked
    ("memory.max", "memory.current", "memory.stat", "{}_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_{}_file"),
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a worker takes of a machine."""

    cpus: float = 1.0
    gpus: float = 0.0
    """Of the memory and time of GPUs; a fraction shares one with other workers."""
    memory_bytes: int = 0
    """Main memory that is set aside; 0 sets none aside."""

    @override
    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{in_gib(self.memory_bytes)} of memory"] if self.memory_bytes else []
        return " and ".join(parts)


def in_gib(num_bytes: float) -> str:
    """For people, rounded up."""
    return f"{ceil(100 * num_bytes / _GIB) / 100:g} GiB"


def must_have_memory(number: int, each: int, shared: int, free: int | None, *, checkers: int = 0) -> None:
    """Refuse more workers than a machine has memory for.

    Args:
        each: Bytes of a worker for itself.
        shared: Bytes that are there once, however many workers there are.
        free: Bytes that can be taken there; None where nobody says, and nothing is refused.
        checkers: Processes besides, each of which takes as much as a worker.

    Raises:
        ConfigError: They do not fit; the message says how many would.
    """
    if free is None or (number + checkers) * each + shared <= free:
        return
    room = max(0, (free - shared) // max(1, each))
    workers = min(number, room)
    asked = f"{number} workers" + (f" and {checkers} checkers" if checkers else "")
    fewer = f"give --workers {workers}" + (f" --checkers {min(checkers, room - workers)}" if checkers else "")
    remedy = fewer if room else "take a machine with more"
    raise ConfigError(
        f"{asked} with {in_gib(each)} of memory each and {in_gib(shared)} that they share do not fit into the "
        f"{in_gib(free)} that are free on this machine; {remedy}, or say with --memory what a worker may take"
    )


def free_memory(*, root: Path = Path("/")) -> int | None:
    """Bytes of main memory that can still be taken, within the limits of a container; None where nobody says.

    Args:
        root: Of the files in which the kernel says it.
    """
    try:
        told = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * _KIB for line in told if line.startswith("MemAvailable:")]
    for names in _CGROUPS:
        limit, used, stat = (root / "sys/fs/cgroup" / name for name in names[:3])
        try:
            most, now = int(limit.read_text(encoding="ascii")), int(used.read_text(encoding="ascii"))
            lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
        files = {names[3].format(state) for state in ("active", "inactive")}  # such as the base, once it was read
        given_back = sum(int(value) for name, value in lines if name in files)
        found.append(max(0, most - now + given_back))
    return min(found, default=None)


def own_memory() -> int | None:
    """Bytes of main memory that this process has for itself, files that it maps left out; None where nobody says."""
    try:
        told = Path(f"/proc/{os.getpid()}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in told if line.startswith("RssAnon:")), None)
