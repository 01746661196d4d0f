"""What a search would take on a cluster: unit costs, how they are carried over, and what is made of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.distributed.setting import Setting
from benchmarks.distributed.simulation import found_in, simulated
from made_up_garden import FERN, LILY, MOSS, ROSE, created, judged, trained
from saint import config
from saint.cli.main import main
from saint.data import Splits
from saint.errors import ConfigError
from saint.growth import Plan, Prices, Sweep, UnitCosts, measure_units, predict, sweep, units_in, works_of
from saint.models import FrozenBase
from saint.registry import Registry
from saint.search import Cluster
from saint.training import Schedule

RECIPE = Path(__file__).parents[3] / "recipes" / "code-to-prose.toml"
UNITS = UnitCosts(
    source="made up",
    num_params=1_000_000,
    trial_s=(50.0, 70.0),
    trial_tokens=107_520,
    flops_per_s=1e10,
    measure_s=0.5,
    judge_s=4.0,
    round_s=2.0,
    answer_s=0.001,
    append_s=0.004,
    runtime_bytes=300_000_000,
    trial_bytes=100_000_000,
)


@pytest.fixture
def plan() -> Plan:
    return config.load(RECIPE, Plan)


def test_costs_are_carried_over_by_operations() -> None:
    scaled = UNITS.scaled(num_params=7e9, flops_per_s=1e13, tokens=215_040)
    assert scaled.num_params == 7_000_000_000
    assert scaled.trial_s == pytest.approx((50.0 * 7000 / 1000 * 2, 70.0 * 7000 / 1000 * 2))
    assert scaled.judge_s == pytest.approx(4.0 * 7)  # as much text, 7,000 times the operations, 1,000 times as fast
    assert scaled.measure_s == pytest.approx(0.5 * 7)
    assert scaled.append_s == UNITS.append_s
    assert (scaled.runtime_bytes, scaled.trial_bytes) == (300_000_000, 700_000_000_000)
    with pytest.raises(ConfigError, match="tokens is -1"):
        UNITS.scaled(tokens=-1.0)


def test_a_plan_is_priced_with_memory_by_node_and_money_by_hour(plan: Plan) -> None:
    works = works_of(plan, UNITS, {"rounds": 3, "candidates": 40})
    assert [(work.num_rounds, work.candidates, work.finalists) for work in works] == [(3, 40, 4)]
    found = predict(works, UNITS, Cluster(num_workers=10), Prices(per_node=4, per_hour=2.0))
    hours = found.simulated.makespan_s / 3600
    assert found.simulated.num_trials == 120
    assert found.price == pytest.approx(11 * hours * 2.0)
    assert (found.base_bytes, found.num_nodes) == (4_000_000, 3)
    assert found.node_bytes == 4_000_000 + 4 * 400_000_000
    assert found.most_workers == pytest.approx(60.0 / found.costs.per_trial_s())
    helped = predict(works, UNITS, Cluster(num_workers=10, num_checkers=3), Prices())
    assert helped.most_workers == pytest.approx(60.0 / helped.costs.per_trial_s(3))
    assert helped.most_workers > found.most_workers
    lean = predict(works, UNITS, Cluster(num_workers=10), Prices(), spot_check=0.25)
    assert lean.costs.measure_s == pytest.approx(UNITS.measure_s / 4)
    assert lean.simulated.makespan_s < found.simulated.makespan_s
    assert lean.price is None


def test_each_stage_has_trials_as_long_as_its_schedule() -> None:
    stages = config.load(RECIPE.with_name("two-stages.toml"), Plan)
    works = works_of(stages, UNITS, {})
    assert len(works) == len(stages.in_full) == 2
    longer = [stages.schedule_of(stage).num_tokens / stages.schedule.num_tokens for stage in stages.in_full]
    assert [work.mean_trial_s for work in works] == pytest.approx([60.0 * factor for factor in longer])
    with pytest.raises(ConfigError, match="grows by layers"):
        works_of(config.load(RECIPE.with_name("layerwise.toml"), Plan), UNITS, {})


def test_a_sweep_says_who_waits_for_whom() -> None:
    slow = replace(UNITS, measure_s=5.0)
    asked = Sweep(trial_s=(45.0, 75.0), per_worker=8, candidates=(24,), life_s=2000.0)
    few, many = sweep(slow, (2, 48), asked)
    assert (few["workers"], many["workers"]) == (2, 48)
    told: Any = many
    assert told["spot"]["utilisation"] > told["spot_failing"]["utilisation"]
    assert told["spot"]["num_trials"] == told["all_failing"]["num_trials"] == 8 * 48
    assert told["spot"]["utilisation"] > 0.8 > 0.3 > told["all"]["utilisation"]  # 60 / 5 = 12 can be kept busy
    assert told["helped"]["utilisation"] > 1.3 * told["all"]["utilisation"]  # by 4 checkers 48 can
    assert told["rounds"]["24"]["utilisation"] < 0.5  # 24 trials for 48 workers


@pytest.mark.slow
def test_the_parts_are_timed_on_a_real_base(base: FrozenBase, data: Splits, plan: Plan, tmp_path: Path) -> None:
    small = replace(plan, schedule=Schedule(num_steps=8, batch_size=2, seq_len=16, evaluate_every=8))
    found = measure_units(base, data.train, small, select_tokens=100, judge_tokens=200, folder=tmp_path)
    assert len(found.trial_s) == 3
    assert min(found.trial_s) > 0
    assert found.num_params == base.num_params
    assert found.judge_s == pytest.approx(found.measure_s / 100 * ((len(small.strengths) + 1) * 100 + 2 * 200))
    assert 0 < found.answer_s < 10
    assert 0 < found.append_s < 10
    assert not list(tmp_path.iterdir())


class _Clock:
    """What the ledger takes for the time."""

    now = 1_700_000_000.0

    @classmethod
    def wait(cls, seconds: float) -> None:
        cls.now += seconds


def grown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Two rounds with two trials each; judging takes 3 s and 5 s a finalist, their ends 7 s and 9 s."""

    class Dated(datetime):
        @classmethod
        def now(cls, _zone: Any = None) -> Any:
            return datetime.fromtimestamp(_Clock.now, UTC)

    monkeypatch.setattr("saint.registry._ledger.datetime", Dated)
    registry = Registry.open(folder)
    registry.write("created", created())
    registry.write("policy_set", {"policy": {"gates": {"gain": {}}, "judging": {}}, "digest": "e" * 64, "reason": ""})
    for number, (pair, judging, end) in enumerate([((ROSE, LILY), 3.0, 7.0), ((FERN, MOSS), 5.0, 9.0)]):
        opened = {"round": number, "stage": 0, "stack": registry.state.standing, "candidates": []}
        registry.write("round_opened", {**opened, "sensitivity": {"method": "none", "scores": {}}})
        for graft in pair:
            _Clock.wait(11.0)
            trained(registry, graft, train_seconds=10.0, train_flops=4e9, train_tokens=2000)
        for graft in pair:
            _Clock.wait(judging)
            judged(registry, graft, "reject")
        _Clock.wait(end)
        registry.write("round_closed", {"round": number, "stack": registry.state.standing, "arms": []})
        _Clock.wait(1000.0)  # nobody grew it
    return registry


def test_a_ledger_says_what_trials_and_judging_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = units_in(grown(tmp_path / "grown", monkeypatch), UNITS)
    assert found.trial_s == (10.0,) * 4
    assert (found.num_params, found.trial_tokens, found.flops_per_s) == (8720, 2000, 4e8)
    assert (found.judge_s, found.round_s) == (4.0, 8.0)
    assert found.measure_s == pytest.approx(2 * 8720 * 6000 / 4e8)
    empty = Registry.open(tmp_path / "empty")
    empty.write("created", created())
    with pytest.raises(ConfigError, match="no trial that took any time"):
        units_in(empty, UNITS)


Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The command line, where parts of a search take what is made up here."""
    monkeypatch.setattr("saint.growth.measure_units", lambda *_args, **_named: UNITS)
    return lambda *told: CliRunner().invoke(main, [str(one) for one in told])


def test_a_cluster_is_planned_from_the_command_line(ask: Ask) -> None:
    done = ask("plan-cluster", "--workers", 4, "--params", "2e6", "--price", 1.5, "--candidates", 12, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["workers"], told["num_params"], told["trial_s"]) == (4, 2_000_000, pytest.approx(120.0))
    assert told["simulated"]["num_trials"] == 12
    assert told["price"] == pytest.approx(5 * told["simulated"]["makespan_s"] / 3600 * 1.5)
    assert "an extrapolation by 2 in parameters" in " ".join(told["assumptions"])
    shown = ask("plan-cluster", RECIPE, "--workers", 4, "--life-hours", 5).output
    for said in ("trials per hour", "workers train what is checked", "a node", "lives for 5 h on average"):
        assert said in shown


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--workers", 0], "at least 1 worker, got 0"),
        (["--workers", 4, "--params", -3], "--params is -3"),
        (["--workers", 4, "--price", "nan"], "costs nan"),
        (["--workers", 4, "--life-hours", 0], "a life above 0 s"),
        (["--workers", 4, "--life-hours", 0.001], "give shorter trials"),
        (["--workers", 30_000], "at most 20,000"),
        (["--workers", 4, "--candidates", 2, "--finalists", 3], "finalists is 3"),
        (["nowhere", "--workers", 4], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_status_2(ask: Ask, asked: list[Any], said: str) -> None:
    done = ask("plan-cluster", *asked)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_simulation_leaves_a_table_and_a_picture(ask: Ask, tmp_path: Path) -> None:
    asked = ["--workers", "1,8", "--per-worker", 4, "--candidates", "6", "--out", tmp_path]
    done = ask("simulate-cluster", *asked)
    assert done.exit_code == 0, done.output
    page, picture = ((tmp_path / name).read_text() for name in ("simulation.md", "simulation.svg"))
    assert "| workers | grafts spot-checked |" in page
    assert "| measuring it again on all of development text | 500 |" in page
    assert page.count("could keep") == 3
    assert picture.count("<polyline") == 6
    assert ask("simulate-cluster", "--workers", "1,x").exit_code == 2


def test_the_figures_are_what_was_simulated_for_256_workers(tmp_path: Path) -> None:
    record = simulated(UNITS, per_worker=2)
    found = found_in(record, Setting(work=tmp_path, scratch=tmp_path, size="tiny"))
    [row], (spot, helped) = record["rows"], found.figures
    assert row["workers"] == 256
    assert (spot.value, helped.value) == (row["spot"]["utilisation"], row["helped"]["utilisation"])
    assert spot.name == "smoke_utilisation_256_spot_checked"
    assert (spot.target, spot.sense) == (0.9, "at_least")
    assert found.rows[-1].ratio.median == row["all"]["utilisation"] < helped.value
