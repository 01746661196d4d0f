"""An idea is asked about a limited number of times, whether or not the answers were written down."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from made_up_text import GATES, Text, Weights, evidence
from saint.judging import Judging, Policy, _judge as judging_module, judge, policy_of, replay_decisions, set_policy
from saint.records import Cost, Outcome, Query, SuiteLosses
from saint.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path / "registry")
    set_policy(made, Policy(gates=GATES))
    return made


def submit(registry: Registry, weights: Weights, file: str) -> None:
    """Say that a graft was trained elsewhere, as `saint submit` does."""
    body = {"graft": weights.digest, "name": "", "reason": "", "folder": "x"}
    registry.write("submitted", {**body, "files": {"adapter_model.safetensors": file}})


def ask(registry: Registry, weights: Weights, text: Text) -> Outcome:
    found = evidence(weights, cost=Cost(num_params=16))
    decision = judge(registry, found, text)
    registry.record(weights, found, decision)
    return decision.outcome


def test_a_query_whose_answer_was_lost_counts_for_its_idea(registry: Registry) -> None:
    class Killed(Text):
        def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
            super().measure(query)
            raise KeyboardInterrupt

    text = Killed()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            judge(registry, evidence(), text)
    assert len(text.asked) == 3
    decision = judge(registry, evidence(), Text())
    assert decision.verdicts[-1].gate == "retries"
    registry.record(Weights(), evidence(), decision)
    assert replay_decisions(registry).problems == ()


def test_what_was_trained_elsewhere_is_an_idea_of_its_own(registry: Registry) -> None:
    text = Text(gain=0.0)
    for number in range(5):
        weights = Weights(bytes([number]))
        submit(registry, weights, file=str(number))
        assert ask(registry, weights, text) is Outcome.DEFER
    assert len(text.asked) == 5
    assert replay_decisions(registry).problems == ()


def test_the_same_weights_at_other_strengths_are_one_idea(registry: Registry) -> None:
    text, outcomes = Text(gain=0.0), []
    for number in range(4):
        weights = Weights(bytes([number]))
        submit(registry, weights, file="the same")
        outcomes.append(ask(registry, weights, text))
    assert outcomes == [Outcome.DEFER] * 3 + [Outcome.REJECT]
    assert replay_decisions(registry).problems == ()


def test_what_was_grown_here_does_not_become_another_idea_by_being_submitted(registry: Registry) -> None:
    for number in range(4):
        weights = Weights(bytes([number]))
        submit(registry, weights, file=str(number))
        decision = judge(registry, evidence(weights), Text(gain=0.0))
        registry.record(weights, evidence(weights), decision)
    assert decision.outcome is Outcome.REJECT


def test_a_ledger_with_more_queries_than_retries_does_not_replay(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(judging_module, "_asked_too_often", lambda *_: "")
        for number in range(4):
            ask(registry, Weights(bytes([number])), Text(gain=0.0))
    [problem] = replay_decisions(registry).problems
    assert "asked about 3 times" in problem


def test_queries_from_before_they_named_ideas_count_when_they_were_answered(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saint.judging import _holdout

    def older(*args: object, **kwargs: object) -> Query:
        return replace(new(*args, **kwargs), idea="")  # type: ignore[arg-type]

    new = _holdout._query
    with monkeypatch.context() as patch:
        patch.setattr(_holdout, "_query", older)
        for number in range(3):
            ask(registry, Weights(bytes([number])), Text(gain=0.0))
    assert ask(registry, Weights(b"fourth"), Text(gain=0.0)) is Outcome.REJECT
    assert replay_decisions(registry).problems == ()
    set_policy(registry, Policy(gates=GATES, judging=Judging(at_most_retries=3)), reason="more")
    assert policy_of(registry.state).judging.at_most_retries == 3
    assert ask(registry, Weights(b"fifth"), Text(gain=0.0)) is Outcome.DEFER
    assert replay_decisions(registry).problems == ()
