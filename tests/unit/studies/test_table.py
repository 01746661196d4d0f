"""Guesses against gains that are known, from the trainings' results to the numbers of the table."""

from dataclasses import replace
from typing import Any

import pytest

from made_up_study import TOKENS_PER_STEP, made_up_findings, plan_of
from saint.data import Splits
from saint.models import FrozenBase
from saint.studies import make_results
from saint.studies._guesses import groups_of, select_gain


def row_of(results: dict[str, Any], guess: str) -> dict[str, Any]:
    [row] = [row for row in results["rows"] if row["guess"] == guess]
    views: dict[str, Any] = row["views"]
    return views


def test_a_guess_that_is_right_has_1_and_no_regret_and_the_wrong_way_round_it_has_minus_1(
    base: FrozenBase, data: Splits
) -> None:
    plan = plan_of()
    found = made_up_findings(plan, base, data)
    results = make_results(plan, found)
    n = len(found.candidates)
    right, wrong = row_of(results, "4 steps")["all"], row_of(results, "gradient")["all"]
    assert right["spearman"]["estimate"] == pytest.approx(1)
    assert [right["regret"][str(top)]["estimate"] for top in plan.top] == [0, 0, 0]
    assert wrong["spearman"]["estimate"] == pytest.approx(-1)
    assert [wrong["regret"][str(top)]["estimate"] for top in plan.top] == pytest.approx(
        [1 - top / n for top in (1, 3, 6)]
    )
    within = row_of(results, "gradient")["within role"]
    assert within["spearman"]["estimate"] == pytest.approx(-1), "so it is in each role"
    assert within["regret"]["6"] is None, "no role has more than six sites"


def test_chance_is_what_it_is_expected_to_be_and_another_seed_is_the_ceiling(base: FrozenBase, data: Splits) -> None:
    plan = plan_of()
    found = made_up_findings(plan, base, data)
    results = make_results(plan, found)
    n = len(found.candidates)
    chance, ceiling = row_of(results, "chance, expected")["all"], row_of(results, "another seed")["all"]
    assert chance["spearman"] == {"estimate": 0.0, "low": None, "high": None}
    assert chance["regret"]["1"]["estimate"] == pytest.approx(1 - (n + 1) / 2 / n)
    assert ceiling["spearman"]["estimate"] == pytest.approx(1)
    assert ceiling["regret"]["1"]["estimate"] == pytest.approx(0)
    noisy = make_results(plan, made_up_findings(plan, base, data, noise=0.3))
    assert row_of(noisy, "another seed")["all"]["spearman"]["estimate"] < 0.9


def test_gains_per_parameter_are_held_against_scores_per_parameter(base: FrozenBase, data: Splits) -> None:
    plan = plan_of()
    found = made_up_findings(plan, base, data)
    sizes = [one["num_params"] for one in make_results(plan, found)["candidates"]]
    equal = make_results(plan, made_up_findings(plan, base, data, gains=[0.0001 * size for size in sizes]))
    by_size = row_of(equal, "number of parameters")
    assert by_size["all"]["spearman"]["estimate"] == pytest.approx(1)
    assert by_size["per parameter"]["regret"]["1"]["estimate"] == pytest.approx(0, abs=1e-9), "all gain as much for it"


def test_a_failed_training_gains_nothing_and_is_named(base: FrozenBase, data: Splits) -> None:
    plan = plan_of()
    found = made_up_findings(plan, base, data)
    trained = {seed: [*results[:-1], {"failure": "it ran away"}] for seed, results in found.trained.items()}
    results = make_results(plan, replace(found, trained=trained))
    last = results["candidates"][-1]
    assert last["gain_bpb"]["estimate"] == 0
    assert last["failures"] == {"0": "it ran away", "1": "it ran away"}
    assert row_of(results, "4 steps")["all"]["spearman"]["estimate"] == pytest.approx(1), "it is the last of both"


def test_ways_to_choose_cost_what_they_train(base: FrozenBase, data: Splits) -> None:
    plan = plan_of(top=[2])
    found = made_up_findings(plan, base, data)
    n = len(found.candidates)
    everything, first, halved = make_results(plan, found)["strategies"]
    assert everything["train_tokens"] == n * 12 * TOKENS_PER_STEP
    assert first["name"] == "train the first 2 by gradient"
    assert first["share_of_tokens"] == pytest.approx(2 / n)
    assert halved["train_tokens"] == (2 * 12 + (n - 2) * 4) * TOKENS_PER_STEP
    assert everything["gain_bpb"]["estimate"] == pytest.approx(0.01 * n)
    assert halved["gain_bpb"]["estimate"] == pytest.approx(0.01 * n)
    assert first["gain_bpb"]["estimate"] == pytest.approx(0.02), "the map puts the worst first"


def test_figures_are_of_maps_that_are_no_control_and_of_a_third_of_the_steps(base: FrozenBase, data: Splits) -> None:
    found = made_up_findings(plan_of(), base, data)
    figures = make_results(plan_of(), found)["figures"]
    assert figures["best_map_spearman_within_role"]["guess"] == "gradient"
    assert figures["short_run_third_spearman"] == {"value": pytest.approx(1), "guess": "4 steps"}
    other = make_results(plan_of(short=[8], top=[1]), found)["figures"]
    assert other["short_run_third_spearman"] is None
    assert other["best_map_top6_regret"] is None


def test_the_best_state_so_far_is_what_a_short_run_shows() -> None:
    bare, curve = {"select_bpb": 3.0}, {"select_bpb": [[100, 2.5], [200, 2.9], [300, 2.4]]}
    assert [select_gain(curve, bare, tokens) for tokens in (100, 200, 300)] == pytest.approx([0.5, 0.5, 0.6])
    assert select_gain({"failure": "it ran away"}, bare, 100) == 0


def test_kinds_are_ranked_apart_within_roles(base: FrozenBase, data: Splits) -> None:
    both = [{"kind": "lora", "options": {"rank": rank}, "bundle": "site", "roles": ["q", "v"]} for rank in (1, 2)]
    plan = plan_of(proposals=both)
    groups, names = groups_of(made_up_findings(plan, base, data).candidates)
    assert sorted(names) == ["q, lora rank=1", "q, lora rank=2", "v, lora rank=1", "v, lora rank=2"]
    assert sorted(groups.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
