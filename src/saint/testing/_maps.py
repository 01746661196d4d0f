from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import inf, isclose
from typing import Any, ClassVar, final

import torch
from typing_extensions import override

from saint import discovery
from saint.data import Splits
from saint.models import FrozenBase
from saint.records import Site
from saint.sensitivity import Map, Seen, observe
from saint.testing._assertions import assert_base_untouched
from saint.testing._tiny import tiny_base, tiny_splits


class MapSuite:
    """What every sensitivity map must keep: subclass it and set `map_name`."""

    map_name: str
    tolerance: float = 1e-3
    """How far rounding may move a score, as a share, where batches come in another order."""

    def base(self) -> FrozenBase:
        """The base that the map is tried on."""
        return tiny_base()

    def build(self) -> Map:
        """The map with its defaults."""
        return discovery.find("sensitivity", self.map_name, Map)()

    def measure(self, base: FrozenBase, *maps: Map) -> list[Mapping[str, float]]:
        """The scores of each map, from the same three batches."""
        named = {str(place): one for place, one in enumerate(maps)}
        found = observe(base, _splits().train, named, num_batches=3, batch_size=2, seq_len=16, seed=1)
        return list(found.scores.values())

    def views(self, base: FrozenBase) -> list[tuple[Site, Seen]]:
        """What the sites see in three batches, for maps to be shown again."""
        recorder = _Recorder()
        self.measure(base, recorder)
        return recorder.views

    def show(self, views: Iterable[tuple[Site, Seen]]) -> dict[str, float]:
        """The scores of a map that is shown these."""
        one = self.build()
        for site, seen in views:
            if one.scores_site(site):
                one.observe(site, seen)
        return one.scores()

    def test_every_site_that_it_scores_has_a_finite_score(self) -> None:
        base, one = self.base(), self.build()
        [scores] = self.measure(base, one)
        assert scores.keys() == {site.key for site in base.sites() if one.scores_site(site)}
        assert scores
        assert all(0 <= score < inf for score in scores.values()), scores

    def test_it_tells_sites_apart(self) -> None:
        [scores] = self.measure(self.base(), self.build())
        assert len(set(scores.values())) > 1

    def test_measuring_again_gives_the_same(self) -> None:
        assert self.measure(self.base(), self.build()) == self.measure(self.base(), self.build())

    def test_maps_beside_it_do_not_change_it(self) -> None:
        base = self.base()
        [alone] = self.measure(base, self.build())
        [one, other] = self.measure(base, self.build(), self.build())
        assert alone == one == other

    def test_measuring_leaves_the_base_as_it_was(self) -> None:
        base = self.base()
        self.measure(base, self.build())
        assert_base_untouched(base)
        assert not any(parameter.requires_grad for parameter in base.model.parameters())

    def test_the_order_of_the_batches_does_not_matter(self) -> None:
        views = self.views(self.base())
        forward, backward = self.show(views), self.show(reversed(views))
        assert forward.keys() == backward.keys()
        for key, score in forward.items():
            assert isclose(score, backward[key], rel_tol=self.tolerance), key

    def test_it_reads_gradients_if_and_only_if_it_says_so(self) -> None:
        views = self.views(self.base())
        needed = type(self.build()).needs_gradient
        others = [(site, _with_other_gradient(seen) if needed else _without_gradient(seen)) for site, seen in views]
        assert (self.show(views) != self.show(others)) == needed

    def test_it_says_where_the_idea_is_from(self) -> None:
        kind = discovery.find("sensitivity", self.map_name, Map)
        assert kind.reference
        assert kind.formula
        assert kind.__doc__


@final
class _Recorder(Map):
    """Keeps all that it is shown."""

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "none"

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.views: list[tuple[Site, Seen]] = []

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self.views.append((site, seen))

    @override
    def scores(self) -> dict[str, float]:
        return {}


@lru_cache(maxsize=1)
def _splits() -> Splits:
    return tiny_splits()


def _without_gradient(seen: Seen) -> Seen:
    return Seen(x=seen.x, y=seen.y, read_weight=seen.read_weight)


def _with_other_gradient(seen: Seen) -> Seen:
    """The same view with later tokens pulling more: another scale alone would not move what is free of scale."""
    pull = torch.linspace(0.5, 1.5, seen.x.shape[1])[:, None]
    return Seen(x=seen.x, y=seen.y, gradient=pull * seen.gradient, read_weight=seen.read_weight)
