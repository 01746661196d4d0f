"""A composition keeps what its grafts saw, and a site that the base has not is refused the same everywhere."""

import dataclasses
from typing import Any

import pytest
import torch

import saint
from saint.composition import compose, measure_signals, newborn, probe_logits, wanted_signals
from saint.errors import SiteError
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.testing import tiny_base
from small_bases import moved, small_model

TOKENS = [torch.arange(4 * 17).view(4, 17)]


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


def test_a_graft_in_compositions_with_two_bases_keeps_what_it_saw_in_each() -> None:
    first, second = tiny_base(), tiny_base()
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.mul_(1.5)
    second = saint.freeze(second.model)
    sites = tuple(site for site in first.sites() if site.role == "up")
    graft = moved(newborn(first, Candidate(sites=sites, kind="dora", options={"rank": 2})))
    one = compose(first, [graft])
    before = probe_logits(one)
    compose(second, [graft])
    assert torch.equal(probe_logits(one), before)


def test_what_casts_a_composition_casts_what_its_grafts_saw_and_leaves_them_one_strength(base: FrozenBase) -> None:
    base = saint.freeze(small_model("gpt2"))
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = moved(newborn(base, Candidate(sites=sites, kind="dora", options={"rank": 2})))
    before, alone = probe_logits(compose(base, [graft])), probe_logits(base.model)
    model = compose(base, [graft]).double()
    torch.testing.assert_close(probe_logits(model).float(), before, rtol=1e-4, atol=1e-5)
    graft.set_strength(0.0)
    torch.testing.assert_close(probe_logits(model).float(), alone, rtol=1e-4, atol=1e-5)


WRONG = {
    "unknown": ({"module": "model.nowhere"}, "the base has no module model.nowhere"),
    "embedding": ({"module": "model.embed_tokens"}, "of type Embedding, and grafts attach to linear maps"),
    "size": ({"d_in": 17}, r"expected a site of the base, got Site.*d_in=17.*the base has Site.*d_in=16"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("lora", {"rank": 2}), ("phi", {"rank": 2, "basis": "gradient"}), ("sparse", {"entries": 3})],
    ids=str,
)
def test_a_wrong_site_is_refused_in_one_sentence(
    kind: str, options: dict[str, Any], wrong: str, base: FrozenBase
) -> None:
    """Whether or not the kind wants signals first."""
    changes, complaint = WRONG[wrong]
    site = dataclasses.replace(next(site for site in base.sites() if site.role == "up"), **changes)
    candidate = Candidate(sites=(site,), kind=kind, options=options)
    if wants := wanted_signals(candidate):
        with pytest.raises(SiteError, match=complaint):
            measure_signals(base, (), wants, TOKENS)
    with pytest.raises(SiteError, match=complaint):
        newborn(base, candidate)


def test_a_choice_for_a_role_that_no_site_has_is_refused(base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.role == "up")

    def born(name: str) -> object:
        return newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 2, "at": {name: {"rank": 3}}}))

    for name in ("up", "q", site.key):  # another candidate of the same proposal may be at q
        born(name)
    with pytest.raises(SiteError, match="no linear site has the role or key 'pu', which the options of kind lora name"):
        born("pu")
    with pytest.raises(SiteError, match="the roles are down, gate, head, k, o, q, up, v"):
        born("block")


def test_a_site_of_another_sort_is_not_a_choice(base: FrozenBase) -> None:
    [site, *_] = [site for site in base.sites() if site.sort == "block"]
    assert isinstance(site, Site)
    with pytest.raises(SiteError, match="no block site has the role or key 'up'"):
        newborn(base, Candidate(sites=(site,), kind="block", options={"width": 2, "at": {"up": {"width": 3}}}))
