"""Who does the work of growth: nobody but this process, or workers somewhere."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, final

import click

from saint.cli._terminal import quieten

if TYPE_CHECKING:
    from saint.growth import Brief, CheckingCrew, Hands, Plan, TrialMemory
    from saint.models import FrozenBase
    from saint.progress import Progress
    from saint.registry import Registry
    from saint.search import Bench, Executor

EXECUTORS = ("processes", "ray")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]i?B|B?)")
_POWERS = ("", "K", "M", "G", "T")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Hiring:
    """What is asked of workers on the command line."""

    number: int
    executor: str = EXECUTORS[0]
    address: str | None = None
    """Of a cluster that is there; None for this machine."""
    gpus: float = 0.0
    """Of a GPU, for each; 0 for none."""
    memory_bytes: int | None = None
    """For each; None for what the largest trial of the plan takes."""
    spot_check: float = 1.0
    """Share of development text that each graft is measured again on."""
    checkers: int = 0
    """Processes of this machine that measure them for the coordinator."""


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size such as 4GiB or 500MB, in bytes."""
    if value is None:
        return None
    if (found := _SIZE.fullmatch(value.strip())) is None:
        said = f"{value!r} is no size; give such as 4GiB, 500MB, or a number of bytes"
        raise click.BadParameter(said, ctx=context, param=parameter)
    number, unit = found.groups()
    step = 1024.0 if "i" in unit else 1000.0
    return round(float(number) * pow(step, _POWERS.index(unit.rstrip("iB"))))


@contextmanager
def hands_for(
    registry: "Registry", base: "FrozenBase", plan: "Plan", hiring: Hiring | None, note: Callable[[str], None]
) -> "Iterator[Hands | None]":
    """Workers for a registry, which others may look on at; nobody where nobody is asked for.

    Args:
        note: Told in a sentence what is not as one might think.

    Raises:
        ConfigError: The base or the plan does not allow for any, or the machine or the cluster cannot have them.
    """
    if hiring is None:
        yield None
        return
    from saint.growth import Hands, brief_for
    from saint.search import Lookout

    own = brief_for(registry, base, plan, num_sharing=hiring.number + hiring.checkers)
    brief, workers = _hired(registry, base, plan, replace(own, gpus=hiring.gpus), hiring, note)
    with (
        Lookout(registry.work, executor=hiring.executor) as lookout,
        _checking(own, hiring.checkers) as checking,
        Hands(
            registry, brief, workers, hiring.number, lookout=lookout, spot_check=hiring.spot_check, checking=checking
        ) as hands,
    ):
        yield hands


@contextmanager
def _checking(brief: "Brief", number: int) -> "Iterator[CheckingCrew | None]":
    """Processes that measure for the coordinator, where there are to be any."""
    if not number:
        yield None
        return
    from saint.growth import CheckingCrew
    from saint.search import Processes

    with CheckingCrew(brief, Processes(partial(_open_quietly, brief)), number) as crew:
        yield crew


def _hired(
    registry: "Registry",
    base: "FrozenBase",
    plan: "Plan",
    brief: "Brief",
    hiring: Hiring,
    note: Callable[[str], None],
) -> "tuple[Brief, Executor]":
    """Where the workers are, and what they are told of where they find everything."""
    from saint.growth import gpus_for, on_cluster, trial_memory
    from saint.search import Processes, RayCluster, Share, free_memory, must_have_memory

    is_here = hiring.address is None
    environments = gpus_for(hiring.number, hiring.gpus) if hiring.gpus and is_here else []
    found = None
    if hiring.memory_bytes != 0:
        found = trial_memory(registry, base, plan, num_sharing=brief.num_sharing)
    if found is not None:
        _must_be_enough(found, hiring.memory_bytes)
        brief = replace(brief, cache_bytes=_cache_bytes(found, brief.num_sharing, hiring.memory_bytes))
    if is_here and found is not None:
        each, shared = _here(found, hiring.memory_bytes)
        must_have_memory(hiring.number, each, shared, free_memory(), checkers=hiring.checkers)
    if hiring.executor == "processes":
        return brief, Processes(partial(_open_quietly, brief), environments)
    share = Share(gpus=hiring.gpus, memory_bytes=_set_aside(found, brief.num_sharing, hiring.memory_bytes))
    cluster = RayCluster(number=hiring.number, address=hiring.address, share=share)
    try:
        if cluster.num_waiting:
            note(f"{cluster.num_waiting} of {hiring.number} workers wait for machines that Ray has yet to start")
        return on_cluster(brief, cluster, quieten)
    except BaseException:
        cluster.leave()
        raise


def _open_quietly(brief: "Brief", progress: "Progress") -> "Bench":
    """What a worker process calls first; it is of this module, for that keeps what a brief's module imports quiet."""
    from saint.growth import opening

    return opening(brief, quieten)(progress)


def _must_be_enough(found: "TrialMemory", asked: int | None) -> None:
    """Refuse less memory for a worker than it has before it does anything."""
    from saint.errors import ConfigError
    from saint.search import in_gib

    if asked and asked < found.process:
        raise ConfigError(
            f"--memory gives a worker {in_gib(asked)}, and Python with its packages and text takes "
            f"{in_gib(found.process)} before any work; give more, or 0 for no limit"
        )


def _here(found: "TrialMemory", asked: int | None) -> tuple[int, int]:
    """Bytes of each worker on this machine for itself, and those that are there once."""
    return (found.own, found.shared) if asked is None else (asked, found.base)


def _set_aside(found: "TrialMemory | None", num_sharing: int, asked: int | None) -> int:
    """Bytes that Ray sets aside for a worker."""
    if asked is not None or found is None:
        return asked or 0
    return found.of_one(num_sharing)


def _cache_bytes(found: "TrialMemory", num_sharing: int, asked: int | None) -> int | None:
    """Most memory for a worker's cache: what is left of what it may take."""
    if asked is None:
        return None
    return max(0, asked - found.of_one(num_sharing) + found.cache)
