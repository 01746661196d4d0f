"""Sets that are re-tuned together, and grafts that are grown everywhere and pruned: tried, kept, and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import saint
from saint import config, records
from saint.composition import compose, logits_digest
from saint.data import Splits
from saint.errors import ConfigError, Interrupted, SaintError
from saint.evaluation import Losses, site_by_site
from saint.grafts import grow_from
from saint.growth import Joint, Overgrow, Plan, open_data, start
from saint.models import FrozenBase
from saint.progress import Progress, Task
from saint.records import Candidate
from saint.registry import Registry, State, verify
from saint.report import log_table
from workshop import Workshop, build_workshop

QUICK = (
    "controls.after=never",
    "gates.gain.at_least_bpb=-1.0",
    "gates.retention.at_most_bpb=9.0",
    "rounds=1",
    "finalists_per_round=5",
    'proposals=[{kind="lora", options={rank=1}, roles=["up", "down"], bundle="site", lr=0.02}]',
)
JOINT = ("joint={num=2, num_steps=6}",)
OVERGROW = ('overgrow={kind="lora", options={rank=1}, roles=["q", "up", "down"], keep=2, retrain_steps=6, lr=0.02}',)
WAYS = (*QUICK, *JOINT, *OVERGROW)


@dataclass
class Growing:
    registry: Registry
    base: FrozenBase
    data: Splits
    plan: Plan

    def grow(self, progress: Progress | None = None) -> State:
        saint.grow(self.base, self.data, self.plan, self.registry, progress=progress)
        return self.registry.state

    def candidate(self, trial: dict[str, Any]) -> Candidate:
        return config.build(trial["candidate"], Candidate, where="trained")


def begin(workshop: Workshop, *overrides: str) -> Growing:
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=overrides)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    return Growing(registry, base, open_data(registry, plan, base), plan)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    one = begin(build_workshop(tmp_path_factory.mktemp("sets")), *WAYS)
    one.grow()
    return one


def sizes(state: State) -> list[tuple[int, int]]:
    """(sites, steps) of each trial, in the ledger's order."""
    return [(len(one["candidate"]["sites"]), one["train_tokens"] // 64) for one in state.trained.values()]


def test_sets_are_trials_among_the_others(grown: Growing) -> None:
    state = grown.registry.state
    assert sizes(state) == [(1, 24), (1, 24), (1, 24), (2, 6), (6, 24), (2, 6)]
    *singles, joint, whole, pruned = state.trained.values()
    assert all("start" not in one for one in (*singles, whole))
    assert joint["start"] != pruned["start"]
    asked = {entry.digest for entry in state.judged}
    assert {joint["graft"], pruned["graft"]} <= asked, "they are finalists like any other"
    assert whole["graft"] not in asked, "what was overgrown is not"
    assert not verify(grown.registry).problems
    said = [str(cell) for column in log_table(grown.registry.ledger).columns for cell in column.cells]
    for gist in (
        "round 1: joint of 2 grafts",
        "round 1: overgrow of lora at 6 sites",
        "6 sites to 2, by leave_one_out",
    ):
        assert gist in said


def test_the_best_of_the_round_are_joined_at_half_strength(grown: Growing) -> None:
    state = grown.registry.state
    *singles, joint, _, _ = state.trained.values()
    best = sorted(singles, key=lambda one: min(bpb for _, bpb in one["history"]["select_bpb"]))[:2]
    assert state.sets[0, "joint"]["members"] == [one["graft"] for one in best]
    assert [site["module"] for site in joint["candidate"]["sites"]] == [
        one["candidate"]["sites"][0]["module"] for one in best
    ]
    graft = grow_from(grown.candidate(joint), weights=grown.registry.payload(joint["graft"]))
    assert graft.strength == 0.5
    history = joint["history"]
    assert (history["earlier_tokens"], history["train_tokens"], history["strength"]) == (2 * 24 * 64, 6 * 64, 0.5)
    assert joint["candidate"]["lr"] == pytest.approx(0.02 / 2**0.5)
    costs = [entry.evidence.cost for entry in state.judged if entry.candidate == grown.candidate(joint)]
    assert [cost.train_tokens for cost in costs] == [54 * 64]


def test_the_sites_that_matter_most_are_left(grown: Growing) -> None:
    state = grown.registry.state
    _, whole, pruned = list(state.trained.values())[-3:]
    told = state.pruned[whole["trial"]]
    overgrown = grow_from(grown.candidate(whole), weights=grown.registry.payload(whole["graft"]))
    losses = Losses(seq_len=grown.plan.evaluation_seq_len)
    worth = site_by_site(grown.base, (), overgrown, grown.data.select["prose"], losses=losses)
    assert told["scores"] == {key: one.estimate for key, one in worth.items()}
    assert told["intervals"] == records.to_plain(worth)
    kept = sorted(worth, key=lambda key: -worth[key].estimate)[:2]
    assert told["kept"] == kept
    assert {site["module"] for site in pruned["candidate"]["sites"]} == set(kept)
    assert pruned["history"]["earlier_tokens"] == whole["train_tokens"]


def test_what_stands_answers_as_its_evidence_says(grown: Growing) -> None:
    stack = saint.restore(grown.registry)
    [entry] = grown.registry.accepted()
    assert logits_digest(compose(grown.base, stack)) == entry.evidence.logits


def trials_of(state: State) -> list[tuple[str, str]]:
    return [(name, one["graft"]) for name, one in state.trained.items()]


class StopsIn(Progress):
    """Somebody presses Ctrl-C some steps into the training of one of the sets."""

    def __init__(self, sites: int, *, nth: int) -> None:
        self._description, self._to_come, self._is_now, self._steps = f"lora at {sites} sites", nth, False, 0

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:  # noqa: ARG002
        self._to_come -= description == self._description
        self._is_now = self._to_come == 0 and description == self._description
        yield self

    def advance(self, amount: int) -> None:
        self._steps += self._is_now and amount > 0
        if self._steps == 4:
            raise Interrupted("stopped")

    def note(self, message: str) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("place", [(2, 1), (6, 1), (2, 2)], ids=["joint", "overgrown", "pruned"])
def test_a_stopped_run_goes_on_to_the_same_grafts(grown: Growing, tmp_path: Path, place: tuple[int, int]) -> None:
    one = begin(build_workshop(tmp_path), *WAYS)
    with pytest.raises(Interrupted):
        one.grow(StopsIn(place[0], nth=place[1]))
    assert list((one.registry.work / "checkpoints").glob("*.safetensors")), "in the middle of it"
    state = one.grow()
    assert trials_of(state) == trials_of(grown.registry.state)
    assert state.pruned == grown.registry.state.pruned
    assert [entry.digest for entry in state.judged] == [entry.digest for entry in grown.registry.state.judged]
    assert not list((one.registry.work / "checkpoints").glob("*")), "nothing is left over"


@pytest.mark.slow
@pytest.mark.parametrize("event", ["set_opened", "pruned", "judged"])
def test_a_killed_run_goes_on_to_the_same_grafts(grown: Growing, tmp_path: Path, event: str) -> None:
    """Killed as soon as such an entry is on the disk: between deciding, training, pruning and training further."""
    workshop = build_workshop(tmp_path)
    one = begin(workshop, *WAYS)
    command = [sys.executable, "-m", "saint.cli", "grow", str(workshop.registry)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and event not in {found["event"] for found in workshop.events()}:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = one.grow()
    assert trials_of(state) == trials_of(grown.registry.state)
    assert [entry.digest for entry in state.judged] == [entry.digest for entry in grown.registry.state.judged]


@pytest.mark.slow
def test_a_guess_prunes_as_well(tmp_path: Path) -> None:
    guessing = OVERGROW[0].replace("keep=2", 'keep=2, by="taylor"')
    state = begin(build_workshop(tmp_path), *QUICK, guessing).grow()
    [told] = state.pruned.values()
    assert told["by"] == "taylor"
    assert not told["intervals"]
    assert told["kept"] == sorted(told["scores"], key=lambda key: -told["scores"][key])[:2]


@pytest.mark.slow
def test_what_the_budget_does_not_pay_is_left_out_and_said_so(tmp_path: Path) -> None:
    one = begin(build_workshop(tmp_path), *WAYS, "budget.train_tokens=4704")  # three candidates of 24 steps, and a bit
    state = one.grow()
    assert sizes(state) == [(1, 24), (1, 24), (1, 24)]
    assert "the budget has 96 left" in state.sets[0, "joint"]["left_out"]
    assert "the budget has 96 left" in state.sets[0, "overgrow"]["left_out"]
    assert state.measured, "growth went on without"


@pytest.mark.slow
def test_a_set_is_no_larger_than_the_budget(tmp_path: Path) -> None:
    """Rank 1 takes 40 parameters at each of these sites, an overgrown graft of all six takes more than there are."""
    one = begin(build_workshop(tmp_path), *QUICK, "joint={num=4, num_steps=6}", *OVERGROW, "budget.num_params=90")
    state = one.grow()
    assert sizes(state)[3:] == [(2, 6), (6, 24), (2, 6)]


@pytest.mark.slow
def test_the_next_round_does_not_overgrow_the_same_stack_again(tmp_path: Path) -> None:
    one = begin(build_workshop(tmp_path), *WAYS, "gates.gain.at_least_bpb=5.0", "rounds=2", "candidates_per_round=2")
    state = one.grow()
    assert not state.standing
    assert "an earlier round has grown the same" in state.sets[1, "overgrow"]["left_out"]
    assert not state.sets[1, "joint"]["left_out"], "other grafts are another set"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("joint={num=1}",), "at least 2 grafts"),
        (("joint={strength=0.0}",), "above 0"),
        (("joint={num_steps=0}",), "num_steps"),
        (("joint={lr=-1.0}",), "positive"),
        (("joint={}", "candidates_per_round=1", "finalists_per_round=1"), "candidates_per_round is 1"),
        (('overgrow={kind="lora", options={rank=1}, keep=0}',), "keep"),
        (('overgrow={kind="lora", options={rank=1}, retrain_steps=0}',), "retrain_steps"),
        (('overgrow={kind="lora", options={rank=1}, num_steps=-1}',), "num_steps"),
        (('overgrow={kind="lora", options={rank=1}, lr=0.0}',), "positive"),
        (('overgrow={kind="lora", options={rink=1}}',), "rank"),
        (('overgrow={kind="lora", options={rank=1}, by="chance"}',), "taylor"),
        (('overgrow={kind="lora", options={rank=1}, roles=["up"], keep=2}',), "nothing to prune"),
        (('overgrow={kind="lora", options={rank=1}, roles=["upp"]}',), "upp"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    workshop = build_workshop(tmp_path)
    with pytest.raises(SaintError, match=said) as caught:
        begin(workshop, *overrides)
    assert "\n" not in str(caught.value)
    assert not workshop.registry.exists()


def test_defaults_are_none_and_have_no_effect() -> None:
    with pytest.raises(ConfigError, match="kind"):
        config.build({}, Overgrow, where="overgrow")
    assert replace(Joint(), num=3).strength == 0.5
