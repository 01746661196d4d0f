"""In which order candidates are tried: what a policy prefers, bundles, limits, repeats, ranking by measurement."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from saint import config, records
from saint.candidates import Proposal, Routing, discounted, propose, rerank
from saint.errors import BudgetError, ConfigError, SiteError, UnknownNameError
from saint.records import Budget, Candidate, Interval, SensitivityMap, Site
from saint.testing import tiny_base

SITES = tiny_base().sites()
LINEAR = [site for site in SITES if site.sort == "linear"]
PLENTY = Budget(num_params=10**9, train_tokens=1)
LORA = Proposal(kind="lora", options={"rank": 1}, bundle="site")


def linear(name: str, role: str = "up", *, depth: int = 0, d_out: int = 16) -> Site:
    return Site(sort="linear", module=name, role=role, depth=depth, d_in=16, d_out=d_out)


def names(
    sites: Sequence[Site],
    scores: Mapping[str, float],
    *,
    policy: str = "sensitivity_first",
    budget: Budget = PLENTY,
    proposal: Proposal = LORA,
) -> list[str]:
    """The proposed candidates, each as its sites' names put together."""
    sensitivity = SensitivityMap(method="by hand", scores=scores)
    found = propose(sites, sensitivity, [proposal], budget, top=100, policy=policy)
    return ["+".join(site.module for site in candidate.sites) for candidate in found]


def test_sensitivity_first_ranks_within_a_role_and_roles_take_turns() -> None:
    sites = [linear("q0", "q"), linear("q1", "q"), linear("up0"), linear("up1"), linear("down0", "down")]
    scores = {"q0": 9.0, "q1": 8.0, "up0": 1.0, "up1": 2.0, "down0": 5.0}
    assert names(sites, scores) == ["q0", "down0", "up1", "q1", "up0"]


def test_sensitivity_first_asks_what_a_parameter_buys_and_quality_first_does_not() -> None:
    sites = [linear("wide", d_out=160), linear("narrow")]  # 176 and 32 parameters
    scores = {"wide": 2.0, "narrow": 1.0}
    assert names(sites, scores) == ["narrow", "wide"]
    assert names(sites, scores, policy="quality_first") == ["wide", "narrow"]


def test_quality_first_takes_the_cheapest_of_those_that_are_nearly_as_good() -> None:
    sites = [linear("best", d_out=99), linear("nearly", d_out=50), linear("less", d_out=1)]
    worth = {"best": 1.0, "nearly": 0.96, "less": 0.92}
    assert names(sites, {key: one**0.5 for key, one in worth.items()}, policy="quality_first") == [
        "nearly",
        "best",
        "less",
    ]


def test_budget_first_asks_what_the_scarcest_limit_buys() -> None:
    sites = [linear("wide", d_out=160), linear("narrow", depth=1)]  # 176 and 32 parameters
    scores = {"wide": 2.0, "narrow": 1.0}
    assert names(sites, scores, policy="budget_first") == ["narrow", "wide"]
    tight = replace(PLENTY, per_layer={"1": 33})  # parameters are plenty, except where the narrow one is
    assert names(sites, scores, policy="budget_first", budget=tight) == ["wide", "narrow"]
    assert names(sites, {}, policy="budget_first") == ["narrow", "wide"], "when nothing is known, the cheapest"


def test_random_depends_on_the_seed_and_on_no_score() -> None:
    def order(seed: int, scores: Mapping[str, float], sites: Sequence[Site] = LINEAR) -> list[str]:
        sensitivity = SensitivityMap(method="by hand", scores=scores)
        found = propose(sites, sensitivity, [LORA], PLENTY, top=100, seed=seed, policy="random")
        return [candidate.sites[0].key for candidate in found]

    known = {site.key: float(index) for index, site in enumerate(LINEAR)}
    assert order(1, known) == order(1, {})
    assert len({tuple(order(seed, {})) for seed in range(8)}) == 8
    assert order(1, {}, LINEAR[:-1]) == [key for key in order(1, {}) if key != LINEAR[-1].key]


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'budget_first'"):
        names(LINEAR, {}, policy="budget-first")


@pytest.mark.parametrize(
    ("bundle", "regions", "expected"),
    [
        ("region", 3, ["q0+up0+q1+up1", "q2+up2", "q3+up3", "head"]),
        ("region", 2, ["q0+up0+q1+up1", "q2+up2+q3+up3", "head"]),
        ("region", 1, ["q0+up0+q1+up1+q2+up2+q3+up3", "head"]),
        ("region", 9, ["q0+up0", "q1+up1", "q2+up2", "q3+up3", "head"]),
        ("role_region", 2, ["q0+q1", "up0+up1", "q2+q3", "up2+up3", "head"]),
    ],
)
def test_a_region_is_a_range_of_depths(bundle: str, regions: int, expected: list[str]) -> None:
    sites = [linear(f"{role}{depth}", role, depth=depth) for depth in range(4) for role in ("q", "up")]
    sites = [*sites, linear("head", "head", depth=-1)]
    proposal = replace(LORA, bundle=bundle, regions=regions)  # type: ignore[arg-type]
    assert sorted(names(sites, {}, proposal=proposal)) == sorted(expected)


def test_regions_are_of_the_base_and_not_of_what_is_left_of_it() -> None:
    sites = [linear(f"up{depth}", depth=depth) for depth in range(6)]
    sensitivity = SensitivityMap(method="none", scores={})
    found = propose(sites, sensitivity, [replace(LORA, bundle="region")], PLENTY, within=sites[3:])
    assert [[site.depth for site in one.sites] for one in found] == [[3], [4, 5]]


def test_a_union_is_one_more_candidate_that_takes_its_own_turn() -> None:
    proposal = replace(LORA, roles=("down",), union=True)
    downs = [site.module for site in LINEAR if site.role == "down"]
    assert names(LINEAR, {}, proposal=proposal) == [downs[0], "+".join(downs), downs[1]]
    assert names([LINEAR[0]], {}, proposal=replace(LORA, union=True)) == [LINEAR[0].module], "it is there already"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regions": 0, "bundle": "region"}, "regions is 0; it must be at least 1"),
        ({"regions": 2}, "no effect on the bundle 'site'; leave it out, or take region or role_region"),
        ({"union": True, "bundle": "all"}, "union has no effect on the bundle 'all'"),
    ],
)
def test_a_setting_without_effect_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(LORA, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"num_bytes": 200},
            r"fits the 200 bytes that are left: the cheapest is lora at 1 sites with 284; raise budget.num_bytes",
        ),
        ({"flops_per_token": 40}, r"fits the 40 FLOPs per token .* with 48; raise budget.flops_per_token or"),
        (
            {"per_layer": {"*": 3, "1": 9}},
            r"fits the 9 parameters of block 1 that are left: the cheapest is lora at 1 sites with 24; raise budget",
        ),
    ],
)
def test_a_budget_that_nothing_fits_names_the_limit_that_binds(limits: dict[str, object], words: str) -> None:
    inside = replace(LORA, roles=("q", "k"))
    with pytest.raises(BudgetError, match=words):
        names(LINEAR, {}, proposal=inside, budget=replace(PLENTY, **limits))  # type: ignore[arg-type]


def test_a_block_that_the_base_has_not_is_refused() -> None:
    with pytest.raises(SiteError, match=r"budget.per_layer names the block '7', and the base has 0, 1"):
        names(SITES, {}, budget=replace(PLENTY, per_layer={"*": 10**6, "7": 1}))


def test_a_limit_of_each_block_keeps_out_what_has_too_much_in_one() -> None:
    limited = replace(PLENTY, per_layer=2 * 32)
    spread, crowded = (
        replace(LORA, bundle="role", roles=("q",)),
        replace(LORA, bundle="depth", roles=("q", "o", "down")),
    )
    assert len(names(LINEAR, {}, proposal=spread, budget=limited)) == 1
    with pytest.raises(BudgetError, match="with 104"):
        names(LINEAR, {}, proposal=crowded, budget=limited)


def test_what_the_stack_does_already_is_worth_less() -> None:
    sites, known = (
        [linear("a"), linear("b"), linear("c")],
        SensitivityMap(method="by hand", scores={"a": 3.0, "b": 2.0, "c": 1.0}),
    )
    less = discounted(known, {"a": 1.0, "b": 0.75})
    assert less.scores == {"a": 0.0, "b": pytest.approx(1.0), "c": 1.0}
    assert less.method == known.method
    assert names(sites, discounted(known, {"a": 0.9}).scores) == ["b", "c", "a"]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"the overlap at a is .*between 0 and 1"):
            discounted(known, {"a": wrong})


def gain(low: float, estimate: float) -> Interval:
    return Interval(
        estimate=estimate, low=low, high=2 * estimate - low, standard_error=(estimate - low) / 2, num_documents=9
    )


def test_of_what_measurement_does_not_tell_apart_the_cheapest_is_first() -> None:
    sites = [linear("dear", d_out=300), linear("cheap"), linear("cheapest", d_out=8), linear("new")]
    dear, cheap, cheapest, new = (Candidate(sites=(site,), kind="lora", options={"rank": 1}) for site in sites)

    def order(**gains: Interval) -> list[str]:
        measured = {records.digest(one): gains[one.sites[0].module] for one in (dear, cheap, cheapest)}
        return [one.sites[0].module for one in rerank([new, cheapest, dear, cheap], measured)]

    assert order(dear=gain(0.09, 0.10), cheap=gain(0.07, 0.08), cheapest=gain(0.01, 0.02)) == [
        "dear",
        "cheap",
        "cheapest",
        "new",
    ]
    assert order(dear=gain(0.05, 0.10), cheap=gain(0.06, 0.08), cheapest=gain(0.01, 0.02))[:2] == ["cheap", "dear"]
    assert order(dear=gain(0.00, 0.10), cheap=gain(0.07, 0.08), cheapest=gain(0.01, 0.02))[0] == "cheapest"
    assert rerank([new, dear], {}) == [new, dear]
    assert rerank([], {}) == []


def test_routing_is_a_table_of_a_plan() -> None:
    assert config.build({"policy": "budget_first"}, Routing, where="routing") == Routing(policy="budget_first")
    with pytest.raises(UnknownNameError, match=r"routing: saint.candidates has nothing called 'best'"):
        config.build({"policy": "best"}, Routing, where="routing")


def test_a_budget_is_a_table_of_a_plan_with_and_without_limits() -> None:
    values = {"num_params": 1, "train_tokens": 2}
    assert config.build(values, Budget, where="budget") == Budget(num_params=1, train_tokens=2)
    limits = {"num_bytes": 3, "flops_per_token": 4, "train_flops": 10**15, "gpu_seconds": 5, "per_layer": {"0": 6}}
    built = config.build({**values, **limits}, Budget, where="budget")
    assert (built.train_flops, built.gpu_seconds, built.of_block("0"), built.of_block("1")) == (1e15, 5.0, 6, None)
    assert config.build({**values, "per_layer": 7}, Budget, where="budget").of_block("encoder.9") == 7
