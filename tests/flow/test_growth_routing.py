"""Which candidates a round trains: less where the stack is at work already, and by a short training on *select*."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

import saint
from saint import config, records
from saint.candidates import discounted, propose, rerank
from saint.composition import newborn, overlap_with
from saint.data import Splits
from saint.errors import BudgetError, ConfigError
from saint.evaluation import Losses
from saint.grafts import LowRankFactors
from saint.growth import Plan, open_data, start
from saint.growth._redundancy import measure_redundancy
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Candidate, SensitivityMap
from saint.registry import Registry
from saint.sensitivity import measure_sensitivity, observe
from saint.sensitivity.phi import Phi
from saint.training import train_many
from workshop import PLAN, Workshop, build_workshop

SITEWISE = 'proposals=[{kind="lora", options={rank=1}, bundle="site", roles=["q", "up", "down"], lr=0.02}]'
QUICK = (SITEWISE, "controls.after=never", "candidates_per_round=2", "gates.gain.at_least_bpb=-1.0")
RERANKED = ("routing.rerank=4", "routing.rerank_steps=3", "rounds=1")
PASSES: dict[str, Any] = {"num_batches": 2, "batch_size": 4, "seq_len": 16}


class Growing:
    def __init__(self, workshop: Workshop, *overrides: str) -> None:
        self.base = saint.freeze(workshop.base)
        self.plan = config.load(workshop.plan, Plan, overrides=[*QUICK, *overrides])
        self.registry: Registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data = open_data(self.registry, self.plan, self.base)

    def grow(self) -> list[dict[str, Any]]:
        """The rounds."""
        saint.grow(self.base, self.data, self.plan, self.registry)
        return list(self.registry.state.rounds.values())


def test_a_site_counts_for_nothing_where_the_stack_spans_what_a_graft_would_do(base: FrozenBase, data: Splits) -> None:
    site, other = (site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 8}))
    phi = Phi()
    observe(base, data.train, {"phi": phi}, stack=[graft], **PASSES)
    up, down = phi.directions(site.key)
    with torch.no_grad():  # so small a change along the gradient leaves the gradient what it is
        for parameter in graft.parameters():
            parameter.copy_(1e-6 * up if parameter.shape == up.shape else down)
    sensitivity, redundancy = measure_redundancy(
        base, data.train, stack=[graft], method="gradient", progress=Silent(), **PASSES
    )
    assert redundancy == {site.key: pytest.approx(1.0, abs=1e-3)}
    taken_off = discounted(sensitivity, redundancy)
    assert taken_off.scores[site.key] < 0.05 * sensitivity.scores[site.key]
    assert taken_off.scores[other.key] == sensitivity.scores[other.key]


def test_directions_come_of_the_passes_that_the_map_takes_anyway(base: FrozenBase, data: Splits) -> None:
    site = next(site for site in base.sites() if site.role == "down")
    graft = newborn(base, Candidate(sites=(site,), kind="phi", options={"rank": 4, "basis": "random"}))
    with torch.no_grad():
        for parameter in graft.parameters():
            parameter.copy_(1e-3 * torch.eye(4))
    found, redundancy = measure_redundancy(
        base, data.train, stack=[graft], method="gradient", progress=Silent(), **PASSES
    )
    plain = measure_sensitivity(base, data.train, stack=[graft], **PASSES)
    assert found.scores == plain.scores
    phi = Phi()
    observe(base, data.train, {"phi": phi}, stack=[graft], **PASSES)
    up, down = phi.directions(site.key)
    values = torch.linalg.svdvals(phi.gradient(site.key))[: phi.options.top]
    step = LowRankFactors(up=up * values, down=down)
    assert redundancy == pytest.approx(overlap_with([graft], {site.key: step}))
    assert 0 < redundancy[site.key] < 1


@pytest.mark.slow
def test_the_second_round_takes_off_what_the_first_has_done(workshop: Workshop) -> None:
    one = Growing(workshop, "routing.redundancy=true")
    first, second = one.grow()
    assert first["redundancy"] == {}
    [below] = [entry for entry in one.registry.accepted() if entry.round == 0]
    assert second["redundancy"].keys() == {site.key for site in below.candidate.sites}
    sensitivity = config.build(second["sensitivity"], SensitivityMap, where="test")
    without = [below.candidate, *(entry.candidate for entry in one.registry.state.judged if entry.round == 0)]
    proposed = propose(
        one.base.sites(),
        discounted(sensitivity, second["redundancy"]),
        one.plan.proposals,
        replace(one.plan.budget, num_params=one.plan.budget.num_params - below.evidence.cost.num_params),
        without=[candidate for candidate in without if records.digest(candidate) == records.digest(below.candidate)],
        top=2,
    )
    assert records.to_plain(proposed) == second["candidates"]


def test_a_round_trains_those_that_save_most_after_a_few_steps(workshop: Workshop) -> None:
    one = Growing(workshop, *RERANKED)
    [opened] = one.grow()
    told = opened["rerank"]
    sensitivity = config.build(opened["sensitivity"], SensitivityMap, where="test")
    proposed = propose(one.base.sites(), sensitivity, one.plan.proposals, one.plan.budget, top=4)
    schedule = replace(one.plan.schedule, num_steps=3, evaluate_every=3)
    short = train_many(one.base, (), proposed, one.data.train, schedule=schedule)
    losses, select = Losses(seq_len=one.plan.evaluation_seq_len), one.data.select["prose"]
    gains = {
        records.digest(found.candidate): losses.saved(one.base, (), [found.graft], select)
        for found in short
        if found.graft is not None
    }
    assert {entry["candidate"]: entry["gain_bpb"] for entry in told["measured"]} == records.to_plain(gains)
    assert records.to_plain(rerank(proposed, gains)[:2]) == opened["candidates"]
    assert (told["split"], told["num_steps"], told["train_tokens"]) == ("select", 3, 4 * 3 * 64)
    state = one.registry.state
    trials = list(state.trained.values())
    assert len(trials) == 2
    for name in ("train_tokens", "train_flops", "train_seconds"):
        assert told[name] > 0
        assert getattr(state.spent, name) == pytest.approx(told[name] + sum(trial[name] for trial in trials))
    assert not list((one.registry.work / "rerank").glob("*"))


def test_its_tokens_come_from_the_budget(workshop: Workshop) -> None:
    one = Growing(workshop, *RERANKED, "budget.train_tokens=3000")  # 1,536 for each of two, and 768 for the short ones
    [opened] = one.grow()
    assert opened["rerank"]["train_tokens"] == 768
    assert len(opened["candidates"]) == 1
    assert one.registry.state.spent.train_tokens <= 3000


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["budget.train_tokens=2250", "budget.train_flops={flops}"])
def test_it_is_left_out_where_the_budget_pays_for_no_candidate_after_it(workshop: Workshop, limit: str) -> None:
    plain = Growing(workshop, "rounds=1", "candidates_per_round=1")
    plain.grow()
    [trial] = plain.registry.state.trained.values()
    other = build_workshop(workshop.root / "other")
    one = Growing(other, *RERANKED, limit.format(flops=1.2 * trial["train_flops"]))
    [opened] = one.grow()
    assert "leaves too few for training one" in opened["rerank"]["left_out"]
    assert len(opened["candidates"]) == 1
    assert opened["candidates"][0] == plain.registry.state.rounds[0]["candidates"][0], "the policy's first"


@pytest.mark.slow
def test_where_all_can_be_trained_there_is_nothing_to_choose(workshop: Workshop) -> None:
    few = SITEWISE.replace('"q", "up", "down"', '"up"')
    [opened] = Growing(workshop, *RERANKED, few).grow()
    assert "rerank" not in opened
    assert len(opened["candidates"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 3])  # with one, nothing but the loss that comes of it shows it
def test_one_that_runs_away_comes_last(workshop: Workshop, num_steps: int) -> None:
    wild = SITEWISE.replace("lr=0.02}", 'lr=0.02}, {kind="phi", options={rank=2}, bundle="all", lr=1e30}')
    [opened] = Growing(workshop, *RERANKED, wild, f"routing.rerank_steps={num_steps}").grow()
    [failed] = [entry for entry in opened["rerank"]["measured"] if entry.get("failure")]
    assert failed["kind"] == "phi"
    assert {candidate["kind"] for candidate in opened["candidates"]} == {"lora"}


@pytest.mark.slow
def test_a_process_killed_while_it_looks_opens_the_same_round(workshop: Workshop) -> None:
    plan = PLAN + "[routing]\nrerank = 4\nrerank_steps = 40\n"
    plan = (
        plan.replace("[controls]", '[controls]\nafter = "never"')
        .replace("rounds = 2", "rounds = 1")
        .replace('bundle = "all"', 'bundle = "role"')
    )
    killed, through = (build_workshop(workshop.root / name, plan=plan) for name in ("killed", "through"))
    for one in (killed, through):
        one.init()
    command = [sys.executable, "-m", "saint.cli", "grow", str(killed.registry)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((killed.registry / "work" / "rerank").glob("*.safetensors")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not [event for event in killed.events() if event["event"] == "round_opened"]
    for one in (killed, through):
        assert one.saint("grow", one.registry).returncode == 0
    opened = [next(e["body"] for e in one.events() if e["event"] == "round_opened") for one in (killed, through)]
    for body in opened:
        assert body["rerank"].pop("train_seconds") > 0
    assert opened[0] == opened[1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("routing.rerank=2", "anyway"),
        ("routing.rerank=-1", "negative"),
        ("routing.rerank_steps=0", "at least 1 step"),
    ],
)
def test_what_cannot_be_meant_is_refused(workshop: Workshop, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load(workshop.plan, Plan, overrides=[*QUICK, override])


def test_a_budget_that_no_candidate_fits_is_refused_as_without(workshop: Workshop) -> None:
    with pytest.raises(BudgetError, match="train_flops"):
        Growing(workshop, *RERANKED, "budget.train_flops=10.0").grow()


def test_text_that_candidates_are_born_from_counts_against_the_budget(workshop: Workshop) -> None:
    born = 'proposals=[{kind="phi", options={rank=2, basis="gradient"}, bundle="all", lr=0.02}]'
    with pytest.raises(BudgetError, match="is shown 51,072 before"):
        Growing(workshop, born, "rounds=1", "budget.train_tokens=20_000", "schedule.signal_tokens=50_000").grow()
