"""Who does the work of growth: nobody but this process, or workers somewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saint.growth import Brief, Hands, Plan
    from saint.models import FrozenBase
    from saint.registry import Registry
    from saint.search import Executor

EXECUTORS = ("processes", "ray")


@contextmanager
def hands_for(
    registry: "Registry",
    base: "FrozenBase",
    plan: "Plan",
    number: int | None,
    executor: str,
    *,
    address: str | None = None,
    spot_check: float = 1.0,
) -> "Iterator[Hands | None]":
    """Workers for a registry, which others may look on at; nobody where no number is given.

    Args:
        address: Of a cluster that is there; None for this machine.
        spot_check: Share of development text that each graft is measured again on.

    Raises:
        ConfigError: The base or the plan does not allow for any, or the cluster cannot have them.
    """
    if number is None:
        yield None
        return
    from saint.growth import Hands, brief_for
    from saint.search import Lookout

    brief = brief_for(registry, base, plan, num_sharing=number)
    brief, workers = _hired(brief, number, executor, address)
    with (
        Lookout(registry.work, executor=executor) as lookout,
        Hands(registry, brief, workers, number, lookout=lookout, spot_check=spot_check) as hands,
    ):
        yield hands


def _hired(brief: "Brief", number: int, executor: str, address: str | None) -> "tuple[Brief, Executor]":
    """Where the workers are, and what they are told of where they find everything."""
    from saint.cli._terminal import quieten
    from saint.growth import on_cluster, opening
    from saint.search import Processes, RayCluster

    if executor == "processes":
        return brief, Processes(opening(brief, quieten))
    cluster = RayCluster(number=number, address=address)
    try:
        return on_cluster(brief, cluster, quieten)
    except BaseException:
        cluster.leave()
        raise
