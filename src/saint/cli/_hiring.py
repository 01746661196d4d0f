"""Who does the work of growth: nobody but this process, or workers somewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saint.growth import Hands, Plan
    from saint.models import FrozenBase
    from saint.registry import Registry

EXECUTORS = ("processes",)


@contextmanager
def hands_for(
    registry: "Registry", base: "FrozenBase", plan: "Plan", number: int | None, executor: str
) -> "Iterator[Hands | None]":
    """Workers for a registry, which others may look on at; nobody where no number is given.

    Raises:
        ConfigError: The base or the plan does not allow for any.
    """
    if number is None:
        yield None
        return
    from saint.cli._terminal import quieten
    from saint.growth import Hands, brief_for, opening
    from saint.search import Lookout, Processes

    brief = brief_for(registry, base, plan, num_sharing=number)
    with (
        Lookout(registry.work, executor=executor) as lookout,
        Hands(registry, brief, Processes(opening(brief, quieten)), number, lookout=lookout) as hands,
    ):
        yield hands
