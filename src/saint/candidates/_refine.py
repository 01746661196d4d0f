from collections.abc import Iterable, Sequence

from saint.records import Candidate, Site


def refined_sites(sites: Sequence[Site], standing: Iterable[Candidate]) -> list[Site]:
    """The sites that grafts which stand are at, and the linear maps inside a block or MLP that one of them is at.

    Args:
        sites: All sites of the base; the answer is in their order.
    """
    taken = {site for candidate in standing for site in candidate.sites}
    modules = tuple(f"{site.module}." for site in taken if site.sort != "linear")
    return [site for site in sites if site in taken or (site.sort == "linear" and site.module.startswith(modules))]
