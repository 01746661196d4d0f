"""A registry together with the base, plan and text that it was made for."""

from typing import TYPE_CHECKING

import click

from saint import config
from saint.errors import BaseModelError, NotARegistryError
from saint.registry import Registry

if TYPE_CHECKING:
    from saint.data import Splits
    from saint.growth import Plan
    from saint.models import FrozenBase
    from saint.progress import Progress


def open_registry(folder: str) -> Registry:
    """The registry in `folder`, which must be one already; what is appended is signed, and sealed in the end."""
    from saint.signing import sign_entries

    registry = Registry.open(folder, must_exist=True)
    sign_entries(registry)
    if context := click.get_current_context(silent=True):
        context.call_on_close(registry.seal.seal)
    return registry


def open_base(registry: Registry, name: str | None = None) -> "FrozenBase":
    """The base that the registry is about, checked against its recorded identity.

    Args:
        name: Where the base is now, if it has moved.

    Raises:
        BaseModelError: It is not where it was, or the registry does not know any.
        BaseChangedError: What is there is not the base that was recorded; the message says which part differs.
    """
    from saint.models import freeze
    from saint.records import BaseIdentity

    recorded = registry.state.created.get("base")
    if not recorded:
        raise NotARegistryError(f"{registry.folder} was made without `saint init`, so it does not know its base")
    place = name or (str(registry.folder / recorded["source"]) if recorded["local"] else recorded["source"])
    if not place:
        raise BaseModelError("the registry's base was a model in memory; give the folder of a saved copy with --base")
    identity = config.build(recorded["identity"], BaseIdentity, where="the ledger")
    base = freeze(place, revision=None if name else recorded["revision"], quantize=identity.quantization)
    remedy = "this registry is about another base: give that one with --base"
    base.must_match(identity, what="the base", remedy=remedy)
    return base


def open_all(
    folder: str, base_name: str | None, progress: "Progress"
) -> tuple[Registry, "FrozenBase", "Plan", "Splits"]:
    """Everything that growing needs, each part checked against the ledger."""
    registry = open_registry(folder)
    return registry, *open_for(registry, base_name, progress)


def open_for(registry: Registry, base_name: str | None, progress: "Progress") -> tuple["FrozenBase", "Plan", "Splits"]:
    """The base, plan and text of a registry, each checked against its ledger."""
    from saint.growth import Plan, open_data

    base = open_base(registry, base_name)
    plan = config.build(registry.state.created["plan"], Plan, where="the ledger's plan")
    return base, plan, open_data(registry, plan, base, progress=progress)
