"""What is worth trying: within the budget, by sensitivity per parameter, and never the same idea twice."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from saint.candidates import Proposal, lora_control, num_params, propose, random_control, refined_sites
from saint.composition import newborn
from saint.errors import BudgetError, ConfigError, SiteError, UnknownNameError
from saint.grafts import Graft
from saint.records import Budget, Candidate, SensitivityMap, Site
from saint.testing import tiny_base

BASE = tiny_base()
SITES = BASE.sites()
LINEAR = [site for site in SITES if site.sort == "linear"]
NOTHING_KNOWN = SensitivityMap(method="none", scores={})
BUNDLES = st.sampled_from(["site", "role", "depth", "all"])


def budget(num_params: int) -> Budget:
    return Budget(num_params=num_params, train_tokens=1_000_000)


PLENTY = budget(10**9)


def scores(**by_key: float) -> SensitivityMap:
    return SensitivityMap(method="by hand", scores=by_key)


def linear(name: str, *, d_in: int = 16, d_out: int = 16, role: str = "up", depth: int = 0) -> Site:
    return Site(sort="linear", module=name, role=role, depth=depth, d_in=d_in, d_out=d_out)


def places(candidates: Sequence[Candidate]) -> list[set[str]]:
    return [{site.key for site in candidate.sites} for candidate in candidates]


def born(candidate: Candidate) -> Graft:
    return newborn(BASE, candidate)


def price(candidate: Candidate) -> int:
    """The formulas of the kinds, written out once more."""
    (size,) = candidate.options.values()
    assert isinstance(size, int)
    per_site = {
        "lora": lambda site: size * (site.d_in + site.d_out),
        "phi": lambda site: size**2,  # noqa: ARG005
        "block": lambda site: 2 * size * site.d_out,
    }
    return sum(per_site[candidate.kind](site) for site in candidate.sites)


lora = Proposal(kind="lora", options={"rank": 1}, bundle="site")
phi = Proposal(kind="phi", options={"rank": 2}, bundle="site")
block = Proposal(kind="block", options={"width": 2}, bundle="site")


@settings(max_examples=12, deadline=None)
@given(limit=st.integers(0, 6000), ranks=st.lists(st.integers(1, 8), min_size=1, max_size=2), bundle=BUNDLES)
def test_what_fits_the_budget_is_proposed_and_nothing_else(limit: int, ranks: list[int], bundle: str) -> None:
    proposals = [
        Proposal(kind=kind, options={option: rank}, bundle=bundle)  # type: ignore[arg-type]
        for rank in ranks
        for kind, option in (("lora", "rank"), ("phi", "rank"), ("block", "width"))
    ]
    prices = [price(candidate) for candidate in propose(SITES, NOTHING_KNOWN, proposals, PLENTY, top=1000)]
    affordable = sorted(one for one in prices if one <= limit)
    try:
        found = propose(SITES, NOTHING_KNOWN, proposals, budget(limit), top=1000)
    except BudgetError:
        found = []
    assert sorted(price(candidate) for candidate in found) == affordable


@settings(max_examples=16, deadline=None)
@given(rank=st.integers(1, 8), kind=st.sampled_from(["lora", "phi"]), bundle=BUNDLES)
def test_the_price_is_what_the_graft_turns_out_to_train(rank: int, kind: str, bundle: str) -> None:
    proposal = Proposal(kind=kind, options={"rank": rank}, bundle=bundle)  # type: ignore[arg-type]
    (candidate,) = propose(SITES, NOTHING_KNOWN, [proposal], PLENTY, top=1)
    assert num_params(candidate) == born(candidate).num_params


def test_options_can_differ_by_role_and_by_site() -> None:
    key = "model.layers.1.self_attn.q_proj"
    pattern = {"rank": 1, "at": {"q": {"rank": 3}, key: {"rank": 4}}}
    (candidate,) = propose(LINEAR, NOTHING_KNOWN, [Proposal(kind="lora", options=pattern, bundle="all")], PLENTY)
    graft = born(candidate)
    ranks = {name: len(part.get_parameter("a")) for name, part in graft.parts.items()}
    assert {rank for name, rank in ranks.items() if "q_proj" not in name} == {1}
    assert ranks["model.layers.0.self_attn.q_proj"] == 3
    assert ranks[key] == 4
    assert num_params(candidate) == graft.num_params


def test_options_at_a_place_that_is_not_there_are_refused() -> None:
    proposal = Proposal(kind="lora", options={"rank": 1, "at": {"qq": {"rank": 3}}})
    with pytest.raises(SiteError, match="no linear site has the role or key 'qq'"):
        propose(SITES, NOTHING_KNOWN, [proposal], PLENTY)


@pytest.mark.parametrize("at", [3, {"q": 3}, {"q": {"rnk": 3}}])
def test_options_at_a_place_are_checked_as_all_are(at: object) -> None:
    with pytest.raises(ConfigError, match=r"a table of tables at 'at'|did you mean 'rank'"):
        propose(SITES, NOTHING_KNOWN, [Proposal(kind="lora", options={"rank": 1, "at": at})], PLENTY)


@pytest.mark.parametrize(("top", "expected"), [(1, 1), (3, 3), (100, 15)])
def test_at_most_as_many_as_asked(top: int, expected: int) -> None:
    assert len(propose(SITES, NOTHING_KNOWN, [lora], PLENTY, top=top)) == expected


def test_the_more_sensitive_site_comes_first() -> None:
    sites = [linear("dull"), linear("keen"), linear("middling")]
    found = propose(sites, scores(dull=0.1, keen=3.0, middling=1.0), [lora], PLENTY)
    assert places(found) == [{"keen"}, {"middling"}, {"dull"}]


def test_a_site_that_costs_more_must_be_worth_more() -> None:
    sites = [linear("wide", d_out=160), linear("narrow")]  # 176 and 32 parameters of LoRA at rank 1
    assert places(propose(sites, scores(wide=2.0, narrow=1.0), [lora], PLENTY))[0] == {"narrow"}
    assert places(propose(sites, scores(wide=3.0, narrow=1.0), [lora], PLENTY))[0] == {"wide"}


def test_a_site_that_the_map_does_not_know_is_worth_nothing() -> None:
    sites = [linear("unknown"), linear("known")]
    assert places(propose(sites, scores(known=0.01), [lora], PLENTY))[0] == {"known"}


def test_proposals_take_turns() -> None:
    found = propose(SITES, NOTHING_KNOWN, [lora, block, phi], PLENTY, top=8)
    kinds = [candidate.kind for candidate in found]
    assert kinds == ["lora", "block", "phi", "lora", "block", "phi", "lora", "phi"]  # there are two blocks only


def test_a_proposal_that_does_not_fit_leaves_its_turns_to_the_others() -> None:
    dear = Proposal(kind="lora", options={"rank": 8}, bundle="all")
    found = propose(SITES, NOTHING_KNOWN, [dear, phi], budget(100), top=2)
    assert [candidate.kind for candidate in found] == ["phi", "phi"]


@pytest.mark.parametrize(
    ("bundle", "num_candidates", "together"),
    [
        ("site", 15, {"model.layers.0.mlp.up_proj"}),
        ("role", 8, {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"}),
        ("depth", 3, {site.key for site in LINEAR if site.depth == 0}),
        ("all", 1, {site.key for site in LINEAR}),
    ],
)
def test_a_bundle_is_one_candidate(bundle: str, num_candidates: int, together: set[str]) -> None:
    found = propose(SITES, NOTHING_KNOWN, [replace(lora, bundle=bundle)], PLENTY, top=100)  # type: ignore[arg-type]
    assert len(found) == num_candidates
    assert together in places(found)
    assert sorted(key for place in places(found) for key in place) == sorted(site.key for site in LINEAR)


def test_encoder_and_decoder_are_not_bundled() -> None:
    sites = [linear("decoder.up"), replace(linear("encoder.up"), stream="encoder")]
    found = propose(sites, NOTHING_KNOWN, [replace(lora, bundle="role")], PLENTY)
    assert places(found) == [{"encoder.up"}, {"decoder.up"}]


def test_only_the_streams_that_were_named() -> None:
    sites = [linear("decoder.up"), replace(linear("encoder.up"), stream="encoder"), linear("decoder.q", role="q")]
    for streams, expected in {
        ("encoder",): [{"encoder.up"}],
        ("decoder",): [{"decoder.up", "decoder.q"}],
        ("encoder", "decoder"): [{"decoder.up", "encoder.up", "decoder.q"}],
    }.items():
        proposal = replace(lora, bundle="all", streams=streams)
        assert places(propose(sites, NOTHING_KNOWN, [proposal], PLENTY)) == expected
    with pytest.raises(SiteError, match=r"no linear site of the encoder has the role 'q'.*the roles are up"):
        propose(sites, NOTHING_KNOWN, [replace(lora, roles=("q",), streams=("encoder",))], PLENTY)


def test_a_stream_that_the_base_does_not_have_is_refused() -> None:
    with pytest.raises(SiteError, match=r"no linear site is in the encoder.*leave that stream out"):
        propose(SITES, NOTHING_KNOWN, [replace(lora, streams=("encoder",))], PLENTY)


def test_only_the_roles_that_were_named() -> None:
    found = propose(SITES, NOTHING_KNOWN, [replace(lora, roles=("q", "down"))], PLENTY, top=100)
    assert {site.role for candidate in found for site in candidate.sites} == {"q", "down"}


def test_a_role_that_no_site_has_is_refused_and_the_roles_are_listed() -> None:
    with pytest.raises(SiteError, match=r"no linear site has the role 'qk'.*down, gate, head, k, o, q, up, v"):
        propose(SITES, NOTHING_KNOWN, [replace(lora, roles=("q", "qk"))], PLENTY)
    with pytest.raises(SiteError, match=r"no block site has the role 'q'.*the roles are block"):
        propose(SITES, NOTHING_KNOWN, [replace(block, roles=("q",))], PLENTY)


def test_a_kind_with_nowhere_to_be_is_refused() -> None:
    with pytest.raises(SiteError, match="no block site"):
        propose(LINEAR, NOTHING_KNOWN, [block], PLENTY)


def test_options_that_a_site_is_too_small_for_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(SiteError, match=r"rank 9 exceeds .*k_proj, which is 8 x 16; lower the rank"):
        propose(SITES, NOTHING_KNOWN, [Proposal(kind="phi", options={"rank": 9}, roles=("k", "q"))], PLENTY)
    assert propose(SITES, NOTHING_KNOWN, [Proposal(kind="phi", options={"rank": 9}, roles=("q",))], PLENTY)


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'block'"):
        propose(SITES, NOTHING_KNOWN, [replace(block, kind="blok")], PLENTY)


@pytest.mark.parametrize("lr", [0.0, -0.1])
def test_a_rate_that_cannot_teach_is_refused(lr: float) -> None:
    with pytest.raises(ConfigError, match=r"lr is .*positive"):
        Proposal(kind="lora", options={"rank": 1}, lr=lr)


def test_when_nothing_fits_the_cheapest_is_named() -> None:
    proposals = [Proposal(kind="lora", options={"rank": 2}, bundle="all"), Proposal(kind="block", options={"width": 3})]
    with pytest.raises(BudgetError, match=r"fits the 20 parameters.*cheapest is block at 2 sites with 192") as refused:
        propose(SITES, NOTHING_KNOWN, proposals, budget(20))
    assert refused.value.exit_status == 2


def test_what_was_tried_is_not_proposed_again_whatever_its_seed() -> None:
    first = propose(SITES, NOTHING_KNOWN, [lora], PLENTY, top=2, seed=1)
    then = propose(SITES, NOTHING_KNOWN, [lora], PLENTY, top=100, seed=2, without=first)
    assert len(then) == 13
    assert not {next(iter(place)) for place in places(first)} & {next(iter(place)) for place in places(then)}


def test_the_same_place_with_other_options_is_another_idea() -> None:
    tried = propose(SITES, NOTHING_KNOWN, [lora], PLENTY, top=100)
    wider = replace(lora, options={"rank": 2})
    assert len(propose(SITES, NOTHING_KNOWN, [wider], PLENTY, top=100, without=tried)) == len(tried)


def test_when_all_ideas_are_spent_there_is_nothing_to_propose() -> None:
    tried = propose(SITES, NOTHING_KNOWN, [lora], PLENTY, top=100)
    assert propose(SITES, NOTHING_KNOWN, [lora], PLENTY, without=tried) == []
    assert propose(SITES, NOTHING_KNOWN, [lora], budget(1), without=tried) == []


def test_candidates_carry_the_proposals_rate_and_the_seed() -> None:
    (found,) = propose(SITES, NOTHING_KNOWN, [replace(lora, lr=0.3)], PLENTY, top=1, seed=7)
    assert (found.lr, found.seed, found.options) == (0.3, 7, {"rank": 1})


CAPACITY = 8 * sum(site.d_in + site.d_out for site in LINEAR)  # no site takes a higher rank than k and v, 8 x 16


@settings(max_examples=50, deadline=None)
@given(st.integers(1, CAPACITY))
def test_the_control_has_at_least_as_many_parameters_and_at_most_one_rank_more(wanted: int) -> None:
    control = lora_control(SITES, wanted, lr=0.01)
    assert 0 <= num_params(control) - wanted < CAPACITY // 8
    assert list(control.sites) == LINEAR


def test_a_control_by_chance_is_at_as_many_sites_and_at_more_where_these_are_too_small() -> None:
    drawn = {random_control(SITES, 300, num_sites=3, lr=0.01, seed=seed).sites for seed in range(20)}
    assert {len(sites) for sites in drawn} == {3}
    assert len(drawn) > 10
    assert all(set(sites) < set(LINEAR) for sites in drawn)
    again = random_control(SITES, 300, num_sites=3, lr=0.01, seed=7)
    assert again == random_control(SITES, 300, num_sites=3, lr=0.01, seed=7)
    assert num_params(again) >= 300
    many = random_control(SITES, CAPACITY // 2, num_sites=1, lr=0.01)
    assert num_params(many) >= CAPACITY // 2
    assert 1 < len(many.sites) < len(LINEAR)
    assert random_control(SITES, 10 * CAPACITY, num_sites=1, lr=0.01).sites == tuple(LINEAR)


def test_the_control_is_never_built_beyond_what_its_sites_take() -> None:
    assert born(lora_control(SITES, 10 * CAPACITY, lr=0.01)).num_params == CAPACITY


def test_without_a_linear_site_there_is_no_control() -> None:
    with pytest.raises(SiteError, match="no linear site"):
        lora_control([site for site in SITES if site.sort != "linear"], 100, lr=0.01)


def test_candidates_are_only_within_the_sites_that_are_given() -> None:
    within = [site for site in LINEAR if site.depth == 1]
    found = propose(SITES, NOTHING_KNOWN, [lora, block], PLENTY, top=100, within=within)
    assert places(found) == [{site.key} for site in within], "there is no block site among them"
    with pytest.raises(SiteError, match="no linear site has the role 'blocked'"):
        propose(SITES, NOTHING_KNOWN, [replace(lora, roles=("blocked",))], PLENTY, within=within)
    assert propose(SITES, NOTHING_KNOWN, [lora], PLENTY, within=[]) == []


def test_refined_sites_are_those_of_what_stands_and_the_linear_maps_inside() -> None:
    [insertion, _] = [site for site in SITES if site.sort == "insertion"]
    query = next(site for site in LINEAR if site.role == "q" and site.depth == 1)
    standing = [Candidate(sites=(site,), kind="any") for site in (query, insertion)]
    inside = [site for site in LINEAR if site.module.startswith(f"{insertion.module}.")]
    assert len(inside) == 7
    assert refined_sites(SITES, standing) == [*inside, query, insertion]
    assert refined_sites(SITES, []) == []
