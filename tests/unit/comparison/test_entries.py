"""Which arm spends which budget on what, known before anything is trained."""

from typing import Any

import pytest

from saint.comparison import ArmPlan, ComparisonPlan, Entry, make_entries
from saint.data import DataPlan
from saint.errors import BudgetError, ConfigError, SiteError
from saint.models import FrozenBase

LORA = ArmPlan(name="lora", kind="lora", size="rank", control=True)


def plan_of(*arms: ArmPlan, **changes: Any) -> ComparisonPlan:
    settings: dict[str, Any] = {"budgets": (0.05, 0.01), **changes}
    return ComparisonPlan(name="made up", base="base", data=DataPlan(prepared="text"), arms=(LORA, *arms), **settings)


def entries_of(base: FrozenBase, arm: ArmPlan, **changes: Any) -> list[Entry]:
    scores = {site.key: 1.0 + index for index, site in enumerate(base.sites())}
    rows = make_entries(plan_of(arm, **changes), base.sites(), base.num_params, scores)
    return [row for row in rows if row.arm.name == arm.name]


def sites_of(entry: Entry) -> list[str]:
    assert entry.filling is not None
    return [site.key for site in entry.filling.sites]


def test_an_arm_has_a_row_for_each_budget_the_smallest_first_and_a_whole_base_one(base: FrozenBase) -> None:
    rows = entries_of(base, ArmPlan(name="phi", kind="phi", size="rank"))
    assert [(row.budget, row.num_params_allowed) for row in rows] == [(0.01, 87), (0.05, 436)]
    [whole] = entries_of(base, ArmPlan(name="full", whole="full"))
    assert (whole.budget, whole.filling) == (None, None)


def test_roles_and_shares_limit_the_sites(base: FrozenBase) -> None:
    [_, row] = entries_of(base, ArmPlan(name="phi", kind="phi", size="rank", roles=("up", "down")))
    assert all(key.endswith(("up_proj", "down_proj")) for key in sites_of(row))
    assert len(sites_of(row)) == 4
    [_, row] = entries_of(base, ArmPlan(name="phi", kind="phi", size="rank", roles=("up", "down"), share=0.5))
    assert len(sites_of(row)) == 2


def test_the_most_sensitive_sites_per_parameter_come_first(base: FrozenBase) -> None:
    [row, _] = entries_of(base, ArmPlan(name="again", kind="lora", size="rank", roles=("q",)))
    assert sites_of(row) == ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]
    [row] = entries_of(base, ArmPlan(name="again", kind="lora", size="rank", roles=("q",)), budgets=(0.005,))
    assert sites_of(row) == ["model.layers.1.self_attn.q_proj"]


def test_random_sites_are_drawn_anew_for_each_run_seed(base: FrozenBase) -> None:
    arm = ArmPlan(name="random", kind="lora", size="rank", sites="random", share=0.3)
    row, again = (entries_of(base, arm, seeds=(3, 4, 5))[1] for _ in range(2))
    assert row == again
    assert list(row.drawn) == [3, 4, 5]
    assert row.filling == row.drawn[3], "the tuning run has the first seed"
    assert len({tuple(site.key for site in filling.sites) for filling in row.drawn.values()}) > 1
    assert any(entries_of(base, arm, seeds=(3, 4, 5), seed=seed)[1].drawn != row.drawn for seed in (1, 2, 3))
    [_, sensitive] = entries_of(base, ArmPlan(name="again", kind="lora", size="rank"))
    assert not sensitive.drawn


def test_what_one_draw_cannot_spend_does_not_fit(base: FrozenBase) -> None:
    arm = ArmPlan(name="random", kind="lora", size="rank", sites="random", share=0.01, roles=("q", "head"))
    small = [entries_of(base, arm, budgets=(0.008, 0.5), seeds=(seed,))[0].filling for seed in range(8)]
    assert None in small
    assert any(small)
    both = (small.index(None), next(seed for seed, filling in enumerate(small) if filling))
    assert entries_of(base, arm, budgets=(0.008, 0.5), seeds=both)[0].filling is None


def test_arms_of_the_rival_s_kind_are_never_ours() -> None:
    plan = plan_of(ArmPlan(name="lora, q", kind="lora", size="rank", roles=("q",)), ArmPlan(name="bias", kind="bias"))
    assert [plan.is_ours(arm) for arm in plan.arms] == [False, False, True]


def test_a_budget_in_which_nothing_fits_is_a_row_that_says_so(base: FrozenBase) -> None:
    given = ArmPlan(name="given", kind="lora", size="rank", roles=("head",), sites="given")
    small, large = entries_of(base, given)
    assert small.filling is None
    assert large.filling is not None


def test_an_arm_that_never_fits_is_refused(base: FrozenBase) -> None:
    with pytest.raises(BudgetError, match="arm 'head' fits none of the budgets: the largest allows 87 parameters"):
        entries_of(base, ArmPlan(name="head", kind="lora", size="rank", roles=("head",)), budgets=(0.01,))
    with pytest.raises(SiteError, match="arm 'x' names the role 'qk', which no linear site has; the roles are down"):
        entries_of(base, ArmPlan(name="x", kind="lora", size="rank", roles=("qk",)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "lroa", "size": "rank"}, "did you mean 'lora'"),
        ({"kind": "lora", "size": "rnak"}, "did you mean 'rank'"),
        ({"kind": "lora", "size": "rank", "options": {"aplha": 1.0}}, "did you mean 'alpha'"),
        ({"kind": "lora", "size": "rank", "options": {"at": {"q": {"aplha": 1.0}}}}, "did you mean 'alpha'"),
        ({"kind": "lora", "size": "rank", "options": {"at": 3}}, "expected a table of tables at 'at'.*got 3"),
        ({"kind": "lora", "size": "rank", "options": {"at": {"q": 3}}}, "expected a table of tables at 'at'"),
        ({"kind": "lora", "size": "rank", "options": {"rank": 3}}, "the budget decides"),
        ({"kind": "lora", "size": "rank", "options": {"alpha": -1.0}}, "alpha is -1.0"),
        ({"kind": "lora"}, "needs the key 'rank'"),
        ({"kind": "lora", "whole": "full"}, "either a kind or whole"),
        ({}, "either a kind or whole"),
        ({"whole": "full", "size": "rank"}, "no effect"),
        ({"kind": "lora", "size": "rank", "lr": 0.0}, "must be positive"),
        ({"kind": "lora", "size": "rank", "share": 0.0}, "above 0"),
    ],
)
def test_an_arm_that_cannot_be_meant(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ArmPlan(name="x", **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rival": "dora"}, "rival is 'dora', which is no arm with a kind; those are lora"),
        ({"budgets": (0.01, 1.0)}, "between 0 and 1"),
        ({"budgets": ()}, "between 0 and 1"),
        ({"budgets": (0.01, 0.01)}, "each once"),
        ({"seeds": ()}, "at least one"),
        ({"tries": 0}, "at least 1"),
        ({"data_plan": "text.toml"}, "either data or data_plan"),
    ],
)
def test_a_comparison_that_cannot_be_meant(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(**settings)


def test_a_base_in_few_bits_is_not_trained_itself() -> None:
    with pytest.raises(ConfigError, match="arm 'full' trains the whole base, which quantize forbids"):
        plan_of(ArmPlan(name="full", whole="full"), quantize="int8")


def test_two_arms_need_two_names() -> None:
    with pytest.raises(ConfigError, match="two arms are called 'lora'"):
        plan_of(LORA)
