"""A budget is spent as far as the kind allows, by one policy for every kind, and never exceeded."""

from collections.abc import Sequence

import pytest

from saint import discovery
from saint.candidates import Filling, fill_budget, num_params
from saint.errors import SiteError, UnknownNameError
from saint.grafts import Kind, kind_and_options
from saint.models import FrozenBase
from saint.records import Candidate, Site


def linear_sites(base: FrozenBase) -> list[Site]:
    return [site for site in base.sites() if site.sort == "linear"]


def made_up(*sizes: tuple[int, int], role: str = "q") -> list[Site]:
    return [
        Site(sort="linear", module=f"layer.{n}", role=role, depth=n, d_in=d_in, d_out=d_out)
        for n, (d_in, d_out) in enumerate(sizes)
    ]


def cheap(_site: Site, num_params: int) -> float:
    return 1 / num_params


def later(site: Site, _num_params: int) -> float:
    return site.depth


@pytest.mark.parametrize(("kind", "size"), [("lora", "rank"), ("phi", "rank"), ("block", "width")])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.2, 0.5])
def test_a_budget_is_nearly_full_and_never_exceeded(base: FrozenBase, kind: str, size: str, share: float) -> None:
    attaches_to = kind_and_options(kind, {size: 1})[0].attaches_to
    sites = [site for site in base.sites() if site.sort == attaches_to]
    allowed = int(share * base.num_params)
    found = fill_budget(kind, {}, size, sites, allowed, prefer=cheap)
    assert found is not None
    assert found.num_params <= allowed
    assert found.num_params == num_params(Candidate(sites=found.sites, kind=kind, options=found.options))
    step = min(num_params(Candidate(sites=(site,), kind=kind, options={size: 1})) for site in sites)
    assert found.num_params >= 0.95 * allowed or allowed - found.num_params < step or _is_full(found, sites)


def _is_full(found: Filling, sites: Sequence[Site]) -> bool:
    """Whether every site has the largest rank that its shape takes."""
    elsewhere = found.options.get("at", {})
    ranks = [elsewhere.get(site.key, found.options).get("rank", 0) for site in sites]
    return ranks == [min(site.d_in, site.d_out) for site in sites]


@pytest.mark.parametrize(  # phi has the most examples
    "kind",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "phi" else []) for name in discovery.names("grafts")],
)
def test_every_example_of_every_kind_can_be_fitted(base: FrozenBase, kind: str) -> None:
    """Also those that refuse some sizes, are used up before the budget is, or have no size at all."""
    found = discovery.find("grafts", kind, Kind)
    sites = [site for site in base.sites() if site.sort == found.attaches_to]
    for example in found.examples:
        size = next((name for name in ("rank", "width") if name in example and "at" not in example), "")
        others = {name: value for name, value in example.items() if name != size}
        filling = fill_budget(kind, others, size, sites, base.num_params // 2, prefer=cheap)
        assert filling is not None, example
        candidate = Candidate(sites=filling.sites, kind=kind, options=filling.options)
        assert 0 < filling.num_params == num_params(candidate) <= base.num_params // 2


def test_what_is_left_raises_the_preferred_sites_by_one() -> None:
    sites = made_up((10, 10), (10, 10), (10, 10))
    found = fill_budget("lora", {}, "rank", sites, 60 * 2 + 45, prefer=later)
    assert found is not None
    assert found.options == {"rank": 2, "at": {"layer.1": {"rank": 3}, "layer.2": {"rank": 3}}}
    assert found.num_params == 160


def test_where_not_all_sites_can_be_served_the_preferred_ones_are() -> None:
    sites = made_up((10, 10), (10, 10), (30, 10), (10, 10))
    found = fill_budget("lora", {}, "rank", sites, 45, prefer=later)
    assert found is not None
    assert [site.depth for site in found.sites] == [1, 3]  # 2 is preferred to 1, and too dear
    found = fill_budget("lora", {}, "rank", sites, 65, prefer=later)
    assert found is not None
    assert [site.depth for site in found.sites] == [2, 3]


def test_a_site_is_exchanged_while_that_fills_a_budget_better() -> None:
    sites = made_up((10, 10), (10, 25), (10, 30), (10, 40))  # a rank costs 20, 35, 40 and 50
    prefer = {"layer.0": 4.0, "layer.1": 3.0, "layer.2": 2.0, "layer.3": 1.0}
    found = fill_budget("lora", {}, "rank", sites, 70, prefer=lambda site, _: prefer[site.key])
    assert found is not None
    assert [site.key for site in found.sites] == ["layer.0", "layer.3"], "not layer 1, which comes to 55 of 70"
    assert found.num_params == 70
    found = fill_budget("lora", {}, "rank", sites, 58, prefer=lambda site, _: prefer[site.key])
    assert found is not None
    assert [site.key for site in found.sites] == ["layer.0", "layer.1"], "95 % are enough to keep those preferred"


def test_sites_that_may_not_be_dropped_are_served_together_or_not_at_all() -> None:
    sites = made_up((10, 10), (10, 10))
    assert fill_budget("lora", {}, "rank", sites, 39, prefer=cheap, may_drop=False) is None
    found = fill_budget("lora", {}, "rank", sites, 40, prefer=cheap, may_drop=False)
    assert found is not None
    assert found.num_params == 40


def test_a_site_that_is_too_small_gets_what_it_takes_and_the_others_grow_on() -> None:
    sites = made_up((2, 2), (50, 50))
    found = fill_budget("lora", {}, "rank", sites, 2 * 4 + 10 * 100, prefer=cheap)
    assert found is not None
    assert found.options == {"rank": 10, "at": {"layer.0": {"rank": 2}}}


def test_nothing_fits_a_budget_below_the_smallest() -> None:
    assert fill_budget("lora", {}, "rank", made_up((10, 10)), 19, prefer=cheap) is None


def test_a_kind_without_a_size_fits_or_takes_the_preferred_sites() -> None:
    sites = made_up((10, 10), (10, 10))
    options = {"rank": 1}
    whole = fill_budget("lora", options, "", sites, 100, prefer=later)
    assert whole is not None
    assert (whole.num_params, whole.options) == (40, options)
    part = fill_budget("lora", options, "", sites, 39, prefer=later)
    assert part is not None
    assert [site.depth for site in part.sites] == [1]


def test_other_options_stay_as_they_are() -> None:
    options = {"alpha": 4.0, "at": {"q": {"alpha": 2.0}}}
    found = fill_budget("lora", options, "rank", made_up((10, 10), (10, 10)), 60, prefer=later)
    assert found is not None
    assert found.options == {"alpha": 4.0, "rank": 1, "at": {"q": {"alpha": 2.0}, "layer.1": {"rank": 2}}} or (
        found.options == {"alpha": 4.0, "rank": 2, "at": {"q": {"alpha": 2.0}, "layer.0": {"rank": 1}}}
    )


@pytest.mark.parametrize(
    ("kind", "sites", "words"),
    [
        ("lora", [], "there are none"),
        ("block", made_up((4, 4)), "attaches to block sites"),
        ("phi", made_up((0, 4)), "exceeds"),
    ],
)
def test_a_kind_that_can_be_nowhere_says_why(kind: str, sites: Sequence[Site], words: str) -> None:
    size = "width" if kind == "block" else "rank"
    with pytest.raises(SiteError, match=words):
        fill_budget(kind, {}, size, sites, 1000, prefer=cheap)


def test_an_unknown_kind_is_no_site_that_is_too_small() -> None:
    with pytest.raises(UnknownNameError, match="lroa"):
        fill_budget("lroa", {}, "rank", made_up((4, 4)), 1000, prefer=cheap)
