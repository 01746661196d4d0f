"""Growth that tries several learning rates: what is trained, what goes on, and what it costs."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

import saint
from saint import config
from saint.errors import BudgetError, ConfigError
from saint.growth import Plan, open_data, start
from saint.growth._rates import idea_of
from saint.growth._settings import Settings
from saint.records import Candidate
from saint.registry import Registry, State
from saint.report import report_parts, summarise, to_html
from saint.training import train_many
from workshop import Workshop

QUICK = (
    "rounds=1",
    "controls.after=never",
    "finalists_per_round=2",
    "gates.gain.at_least_bpb=5.0",
    "rates=[0.25, 1, 3]",
)


def grown(workshop: Workshop, *overrides: str) -> State:
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=[*QUICK, *overrides])
    registry = start(workshop.registry, base, plan, root=workshop.root)
    saint.grow(base, open_data(registry, plan, base), plan, registry)
    return registry.state


def tries(state: State) -> dict[str, dict[float, float]]:
    """Idea -> learning rate -> best loss on *select*, of what came to something."""
    found: dict[str, dict[float, float]] = defaultdict(dict)
    for trial in state.trained.values():
        candidate = config.build(trial["candidate"], Candidate, where="test")
        there = found[idea_of(candidate)]
        if trial["graft"]:
            there[candidate.lr] = min(bpb for _, bpb in trial["history"]["select_bpb"])
    return found


@pytest.mark.slow
def test_each_candidate_is_tried_at_each_rate_and_its_best_is_judged(workshop: Workshop) -> None:
    state = grown(workshop)
    found = tries(state)
    assert len(state.rounds[0]["candidates"]) == len(found) == 3
    assert sorted(next(iter(found.values()))) == pytest.approx([0.0125, 0.05, 0.15])
    best = {idea: min(losses, key=lambda lr: losses[lr]) for idea, losses in found.items()}
    judged = [entry.candidate for entry in state.judged]
    assert len({idea_of(candidate) for candidate in judged}) == len(judged) == 2
    assert all(candidate.lr == best[idea_of(candidate)] for candidate in judged)
    leaders = sorted(best, key=lambda idea: min(found[idea].values()))[:2]
    assert {idea_of(candidate) for candidate in judged} == set(leaders), "a second try of one takes no other's place"


@pytest.mark.slow
def test_the_report_tells_the_tries_apart(workshop: Workshop) -> None:
    grown(workshop)
    summary = summarise(Registry.open(workshop.registry))
    assert len(summary["not_asked"]) == 7
    for lr in {trial["candidate"]["lr"] for trial in summary["not_asked"]}:
        assert f"trained with learning rate {lr:g}, but" in to_html(summary)
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(*report_parts(summary))
    assert capture.get().count(" with learning rate ") == 7


@pytest.mark.slow
def test_the_tokens_of_all_tries_come_from_the_budget(workshop: Workshop) -> None:
    state = grown(workshop, "budget.train_tokens=10_000", "rounds=2")
    assert [len(one["candidates"]) for one in state.rounds.values()] == [2], "a try takes 1,536"
    assert len(state.trained) == 6
    assert sum(trial["train_tokens"] for trial in state.trained.values()) <= 10_000


def test_a_budget_that_pays_for_one_rate_only_is_refused(workshop: Workshop) -> None:
    with pytest.raises(BudgetError, match="4,608 tokens"):
        grown(workshop, "budget.train_tokens=4000")


def test_only_what_came_to_nothing_at_every_rate_is_settled(workshop: Workshop) -> None:
    base, plan = saint.freeze(workshop.base), config.load(workshop.plan, Plan, overrides=QUICK)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    once, never = (Candidate(sites=(site,), kind="lora", options={"rank": 1}) for site in base.sites()[:2])
    for number, (candidate, graft) in enumerate([(once, ""), (once, "5" * 64), (never, ""), (never, "")]):
        tried = replace(candidate, lr=0.1 * (number + 1))
        registry.write("trained", {"trial": str(number), "candidate": tried, "stack": [], "graft": graft})
    settled = Settings(registry, base, open_data(registry, plan, base), plan).settled()
    assert {idea_of(candidate) for candidate in settled} == {idea_of(never)}


def test_training_that_runs_away_at_one_rate_leaves_the_others(workshop: Workshop) -> None:
    state = grown(workshop, "rates=[1, 1e30]")
    [failure] = [trial for trial in state.trained.values() if trial.get("failure")]
    assert config.build(failure["candidate"], Candidate, where="test").lr > 1e20
    assert len([losses for losses in tries(state).values() if losses]) == 3


@pytest.mark.slow
def test_rungs_stop_losing_tries(workshop: Workshop) -> None:
    state = grown(workshop, "search.rungs=[{at=0.5, keep=0.34}]")
    assert sum(bool(trial.get("stopped")) for trial in state.trained.values()) == 5
    assert state.judged


@pytest.mark.parametrize("rates", ["[1, 1]", "[0.0]", "[-1, 1]"])
def test_factors_that_say_nothing_are_refused(workshop: Workshop, rates: str) -> None:
    with pytest.raises(ConfigError, match="rates is"):
        config.load(workshop.plan, Plan, overrides=[f"rates={rates}"])


@pytest.mark.slow
def test_tries_that_coincide_are_one_training_and_one_finalist(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.01 at ten times its rate is 0.1 at its own, and the best try of both."""
    learnt = []

    def watched(*args: Any, **kwargs: Any) -> Any:
        learnt.extend(candidate.lr for candidate in args[2])
        return train_many(*args, **kwargs)

    monkeypatch.setattr("saint.growth._training.train_many", watched)
    phi = [f'{{kind="phi", options={{rank=2}}, bundle="all", lr={lr}}}' for lr in (0.01, 0.1)]
    state = grown(workshop, "rates=[1, 10]", f"proposals=[{', '.join(phi)}]", "candidates_per_round=2")
    assert len(state.rounds[0]["candidates"]) == 2
    assert sorted(learnt) == pytest.approx([0.01, 0.1, 1.0])
    assert [entry.candidate.lr for entry in state.judged] == pytest.approx([0.1])
