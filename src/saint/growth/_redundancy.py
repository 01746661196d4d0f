"""How much of what a graft would do at a site the stack does there already."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from typing_extensions import override

from saint import discovery
from saint.composition import overlap_with
from saint.data import Corpus
from saint.grafts import Graft, LowRankFactors
from saint.models import FrozenBase
from saint.progress import Progress
from saint.records import SensitivityMap, Site
from saint.sensitivity import Map, Seen, observe
from saint.sensitivity.phi import Phi


def measure_redundancy(
    base: FrozenBase, text: Corpus, *, stack: Sequence[Graft], method: str, progress: Progress, **passes: Any
) -> tuple[SensitivityMap, dict[str, float]]:
    """A sensitivity map, and from the same passes over text the overlap of the stack with what a graft would change.

    The latter is taken to be a step against the gradient between the leading singular vectors of a weight, as the map
    `phi` finds it, of the model as it stands.

    Args:
        text: Must be the train split.
        method: The map.
        passes: How much text, as `saint.sensitivity.observe` takes it.

    Returns:
        The map with nothing taken off, and site key -> overlap for sites whose weight the stack changes by something of
        low rank.
    """
    changed = frozenset(site for graft in stack for site in graft.candidate.sites if site.sort == "linear")
    directions = _Directions(changed)
    maps = {method: discovery.find("sensitivity", method, Map)()} | ({_DIRECTIONS: directions} if changed else {})
    found = observe(base, text, maps, stack=stack, progress=progress, **passes)
    sensitivity = SensitivityMap(
        method=method, scores=found.scores[method], num_tokens=found.num_tokens, num_flops=found.num_flops
    )
    overlaps = overlap_with(stack, {site.key: directions.at(site) for site in changed})
    return sensitivity, {key: overlap for key, overlap in sorted(overlaps.items()) if overlap}


_DIRECTIONS = "directions"


@final
class _Directions(Map):
    """What the map `phi` holds of some sites; it scores none."""

    reference: ClassVar[str] = Phi.reference
    formula: ClassVar[str] = Phi.formula

    def __init__(self, sites: frozenset[Site]) -> None:
        super().__init__()
        self._sites, self._phi = sites, Phi()

    @override
    def scores_site(self, site: Site) -> bool:
        return site in self._sites

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._phi.observe(site, seen)

    @override
    def scores(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def at(self, site: Site) -> LowRankFactors:
        """A step against the gradient, up to its length and sign."""
        up, down = self._phi.directions(site.key)
        values = torch.linalg.svdvals(self._phi.gradient(site.key))[: up.shape[1]]
        return LowRankFactors(up=up * values, down=down)
