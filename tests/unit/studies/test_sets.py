"""Ways to come to several sites at once: what each is made of, and what it costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from made_up_study import TOKENS_PER_STEP, made_up_findings, plan_of
from saint.composition import compose
from saint.data import Splits
from saint.errors import ConfigError
from saint.evaluation import Losses
from saint.models import FrozenBase
from saint.records import Candidate
from saint.studies import Materials, SetPlan, make_results
from saint.studies._bench import Bench
from saint.studies._sets import SetJob, SetWay, best_apart, num_tokens_of, sites_everywhere
from saint.studies._study import candidates_of
from saint.training import Schedule, train
from workshop import Workshop

SCHEDULE = Schedule(num_steps=4, batch_size=2, seq_len=16, evaluate_every=2)
SETS = SetPlan(num=2, joint_steps=2, retrain_steps=2)


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    plan = replace(plan_of(short=[]), schedule=SCHEDULE, num_batches=1, evaluation_seq_len=32, sets=SETS)
    root = workshop.root
    return Bench(Materials(base=str(workshop.base), data=root / "text", cells=root / "cells"), plan)


def pair_of(bench: Bench) -> tuple[Candidate, ...]:
    return tuple(candidates_of(bench.plan, bench.base.sites())[:2])


def do(bench: Bench, way: SetWay, *candidates: Candidate) -> dict[str, Any]:
    return bench.do(SetJob(way=way, candidates=candidates))


def test_stages_are_each_trained_on_those_before(bench: Bench) -> None:
    first, second = pair_of(bench)
    found = do(bench, "in stages", first, second)["in stages"]
    data = bench.data
    below = train(bench.base, (), first, data.train, select=data.select["prose"], schedule=SCHEDULE)
    above = train(bench.base, [below], second, data.train, select=data.select["prose"], schedule=SCHEDULE)
    nats = Losses(seq_len=32).measure(compose(bench.base, [below, above]), data.held_out)
    assert found["held_out"] == nats.tolist()
    assert found["num_params"] == below.num_params + above.num_params
    assert found["train_tokens"] == SCHEDULE.num_tokens, "the first was trained already"


def test_the_joined_are_the_same_grafts_and_learn_on(bench: Bench) -> None:
    found = do(bench, "joined", *pair_of(bench))
    data = bench.data
    apart = [
        train(bench.base, (), one, data.train, select=data.select["prose"], schedule=SCHEDULE) for one in pair_of(bench)
    ]
    nats = Losses(seq_len=32).measure(compose(bench.base, apart), data.held_out)
    assert found["composed"]["held_out"] == nats.tolist()
    assert found["composed"]["train_tokens"] == 0
    assert found["joined"]["train_tokens"] == 2 * SCHEDULE.tokens_per_step
    assert found["joined"]["num_params"] == found["composed"]["num_params"]
    assert found["joined"]["held_out"] != found["composed"]["held_out"]


def test_an_overgrown_graft_is_pruned_in_each_way(bench: Bench) -> None:
    everywhere = sites_everywhere(candidates_of(bench.plan, bench.base.sites()), SETS)
    found = do(bench, "overgrown", everywhere)
    assert set(found) == {"chance", "leave-one-out", "taylor"}
    for one in found.values():
        assert len(one["kept"]) == 2
        assert one["kept"] == sorted(one["scores"], key=lambda key: -one["scores"][key])[:2]
        assert set(one["scores"]) == {site.key for site in everywhere.sites}
        assert one["train_tokens"] == (4 + 2) * SCHEDULE.tokens_per_step
    assert do(bench, "overgrown", everywhere) == found, "and it is done once"


def test_what_fails_is_said_and_gains_nothing(bench: Bench) -> None:
    first, second = (replace(one, lr=1e30) for one in pair_of(bench))
    for way in ("joined", "in stages", "overgrown"):
        found = do(bench, way, first, second) if way != "overgrown" else do(bench, way, first)
        assert all("failure" in one for one in found.values())


def test_everywhere_is_each_site_once_at_the_rate_that_the_rule_gives(bench: Bench) -> None:
    candidates = candidates_of(bench.plan, bench.base.sites())
    everywhere = sites_everywhere(candidates, SETS)
    assert len(everywhere.sites) == len(candidates)
    assert everywhere.lr == pytest.approx(candidates[0].lr / len(candidates) ** 0.5)
    assert sites_everywhere(candidates, replace(SETS, lr=0.5)).lr == 0.5


def test_the_best_are_at_different_sites_and_alike(bench: Bench) -> None:
    a, b, c, *_ = candidates_of(bench.plan, bench.base.sites())
    other = replace(b, options={"rank": 1})
    assert best_apart([a, b, c], [1.0, 3.0, 2.0], 2, like=a) == (b, c)
    assert best_apart([a, b, replace(b, lr=0.9)], [1.0, 3.0, 4.0], 2, like=a) == (replace(b, lr=0.9), a)
    assert best_apart([a, other, c], [1.0, 3.0, 2.0], 3, like=a) == (c, a), "of another rank"


@pytest.mark.parametrize(("way", "trainings", "steps"), [("joined", 2, 2), ("in stages", 2, 0), ("overgrown", 1, 6)])
def test_a_job_says_what_it_learns_from(bench: Bench, way: SetWay, trainings: int, steps: int) -> None:
    job = SetJob(way=way, candidates=pair_of(bench)[:trainings])
    assert num_tokens_of(job, SCHEDULE, SETS) == trainings * SCHEDULE.num_tokens + steps * SCHEDULE.tokens_per_step


def test_ways_are_rows_beside_the_others(base: FrozenBase, data: Splits) -> None:
    plan = replace(plan_of(top=[2]), sets=SETS)
    found = made_up_findings(plan, base, data)
    num_bytes, n = data.held_out.num_bytes_each, len(found.candidates)

    def result(gain: float, tokens: int) -> dict[str, Any]:
        nats = ((3.0 - gain) * np.log(2) * num_bytes).tolist()
        return {"num_params": 20, "train_tokens": tokens, "held_out": nats}

    ways = {"composed": result(0.1, 0), "joined": result(0.4, 50), "leave-one-out": result(0.3, 70)}
    rows = make_results(plan, replace(found, sets=dict.fromkeys(plan.seeds, ways)))["strategies"]
    by_name = {row["name"]: row for row in rows}
    all_tokens = n * 12 * TOKENS_PER_STEP
    joined = by_name[f"train all {n}, join the best 2 and train on"]
    assert joined["gain_bpb"]["estimate"] == pytest.approx(0.4)
    assert joined["train_tokens"] == all_tokens + 50
    pruned = by_name["overgrow, prune to 2 by leave-one-out"]
    assert pruned["gain_bpb"]["estimate"] == pytest.approx(0.3)
    assert pruned["train_tokens"] == 70, "none was trained apart for it"
    assert by_name["overgrow, prune to 2 by taylor"]["gain_bpb"]["estimate"] == 0, "it was not tried"
    assert "joined" not in {row["name"] for row in make_results(plan, found)["strategies"]}


@pytest.mark.parametrize(
    "settings", [{"num": 1}, {"strength": 0.0}, {"joint_steps": 0}, {"retrain_steps": 0}, {"lr": 0.0}]
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        SetPlan(**settings)


def test_more_sites_than_there_are_are_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="lower it"):
        candidates_of(replace(bench.plan, sets=replace(SETS, num=99)), bench.base.sites())
