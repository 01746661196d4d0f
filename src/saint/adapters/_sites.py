from collections.abc import Iterable
from pathlib import Path

from saint.errors import AdapterError
from saint.models import FrozenBase
from saint.records import Site, SiteSort


def sites_of(base: FrozenBase, sort: SiteSort, modules: Iterable[str], folder: Path) -> list[Site]:
    """The sites of a sort at modules that an adapter names, in the base's order.

    Raises:
        AdapterError: The base has no such module, or it is no site of that sort.
    """
    there = {site.module: site for site in base.sites() if site.sort == sort}
    for module in sorted(set(modules) - there.keys()):
        try:
            found = base.model.get_submodule(module)
        except AttributeError:
            raise AdapterError(
                f"{folder} changes {module}, and the base has no such module; this adapter is for another base"
            ) from None
        raise AdapterError(
            f"{folder} changes {module}, a {type(found).__name__}, which is no {sort} site; train an adapter that "
            "leaves it alone"
        )
    wanted = set(modules)
    return [site for module, site in there.items() if module in wanted]
