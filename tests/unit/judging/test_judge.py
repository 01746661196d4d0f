"""A graft is judged in one sequence: development text, one query that is in the ledger first, one bit, a decision."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saint.errors import ConfigError, DataError, HoldOutError, JudgeError, LedgerError, StaleEvidenceError
from saint.judging import (
    Judging,
    Policy,
    RiskClass,
    _judge as judging_module,
    judge,
    must_suffice,
    read_losses,
    replay_decisions,
    set_policy,
    threshold,
)
from saint.judging._answer import all_shown
from saint.judging._judge import write_losses
from saint.records import Cost, Decision, Evidence, Interval, Outcome, Query, SuiteLosses, Verdict
from saint.registry import Registry
from sealed_text import GATES, Text, Weights, evidence


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path / "registry")
    set_policy(made, Policy(gates=GATES))
    return made


def refused_on_development_text() -> Evidence:
    return evidence(gain_bpb=Interval(estimate=-0.1, low=-0.12, high=-0.08, standard_error=0.01, num_documents=50))


def test_what_is_good_passes_and_stands(registry: Registry) -> None:
    decision = judge(registry, evidence(), Text())
    assert decision.outcome is Outcome.ACCEPT
    assert decision.passed
    registry.record(Weights(), evidence(), decision)
    [entry] = registry.accepted()
    assert entry.digest == Weights().digest
    assert [asked.passed for asked in registry.state.queries["f" * 64]] == [True]
    assert set(read_losses(registry.payload(decision.losses))) == {"prose", "code"}


def test_what_sealed_text_does_not_show_is_deferred(registry: Registry) -> None:
    for text in (Text(gain=0.04), Text(loss=0.2)):
        decision = judge(registry, evidence(), text)
        assert decision.outcome is Outcome.DEFER
        assert not decision.passed


def test_the_query_is_in_the_ledger_before_anything_is_measured(registry: Registry) -> None:
    class Looks(Text):
        def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
            [asked] = Registry.open(registry.folder).state.queries[self.digest]
            assert asked.query == query
            return super().measure(query)

    judge(registry, evidence(), Looks())


def test_only_one_bit_comes_back(registry: Registry, tmp_path: Path) -> None:
    other = Registry.open(tmp_path / "other")
    set_policy(other, Policy(gates=GATES))
    one = judge(registry, evidence(), Text(gain=0.0, seed=1))
    two = judge(other, evidence(), Text(gain=0.049, loss=0.3, seed=2))
    assert replace(one, losses="") == replace(two, losses="")
    assert one.losses != two.losses


def test_development_text_and_counts_settle_without_a_query(registry: Registry) -> None:
    text = Text()
    too_large = evidence(cost=Cost(num_params=1000))
    for found in (refused_on_development_text(), too_large, evidence(removal=None)):
        assert judge(registry, found, text).outcome is not Outcome.ACCEPT
    assert text.asked == []
    assert registry.state.queries == {}


def test_what_development_text_gives_no_hope_for_is_not_asked(registry: Registry) -> None:
    spreads = evidence().spreads
    low = {against: replace(one, mean=0.01) for against, one in spreads["prose"].items()}
    decision = judge(registry, evidence(spreads={**spreads, "prose": low}), Text())
    assert decision.outcome is Outcome.DEFER
    assert decision.query is None
    assert registry.state.queries == {}


def test_a_spread_that_was_not_measured_never_passes(registry: Registry) -> None:
    assert judge(registry, evidence(spreads={}), Text()).outcome is Outcome.DEFER


def test_a_query_whose_answer_was_lost_counts_all_the_same(registry: Registry) -> None:
    class Killed(Text):
        def measure(self, _query: Query) -> Mapping[str, SuiteLosses]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(registry, evidence(), Killed())
    decision = judge(registry, evidence(), Text())
    assert decision.query is not None
    assert decision.query.number == 2
    assert decision.query.log_threshold == pytest.approx(threshold(Judging(), 2, 1)), (
        "an answer that was lost may have got out"
    )


def test_what_cannot_be_measured_is_deferred(registry: Registry) -> None:
    class Broken(Text):
        def measure(self, _query: Query) -> Mapping[str, SuiteLosses]:
            raise DataError("a document has a loss that is not a number")

    decision = judge(registry, evidence(), Broken())
    assert decision.outcome is Outcome.DEFER
    assert not decision.passed
    assert "not a number" not in str(decision), "that would be a third answer"
    assert b"not a number" in registry.payload(decision.losses)


def test_each_query_is_harder_than_the_one_before(registry: Registry) -> None:
    levels = []
    for number in range(3):
        weights = Weights(bytes([number]))
        decision = judge(registry, evidence(weights), Text(gain=0.0))
        assert decision.query is not None
        levels.append(decision.query.log_threshold)
        registry.record(weights, evidence(weights), decision)
    assert levels == sorted(set(levels))


def test_an_idea_is_not_asked_about_for_ever(registry: Registry) -> None:
    text = Text(gain=0.0)
    for number in range(4):
        weights = Weights(bytes([number]))
        decision = judge(registry, evidence(weights), text)
        registry.record(weights, evidence(weights), decision)
    assert len(text.asked) == 3, "a first query and two retries"
    assert decision.outcome is Outcome.REJECT
    assert decision.verdicts[-1].gate == "retries"


@pytest.mark.parametrize(
    ("judging", "message"),
    [
        (Judging(at_most_queries=1), "expired"),
        (Judging(mode="stream", documents_per_query=150), "200 sealed documents"),
    ],
)
def test_a_hold_out_that_is_used_up_is_not_asked(registry: Registry, judging: Judging, message: str) -> None:
    set_policy(registry, Policy(gates=GATES, judging=judging), reason="shorter")
    judge(registry, evidence(), Text())
    with pytest.raises(HoldOutError, match=message):
        judge(registry, evidence(), Text())


def test_a_retired_hold_out_is_not_asked(registry: Registry) -> None:
    registry.write("holdout_retired", {"holdout": Text().digest, "reason": "a colleague has read it"})
    with pytest.raises(HoldOutError, match="a colleague has read it"):
        judge(registry, evidence(), Text())


def test_evidence_of_another_stack_asks_nothing(registry: Registry) -> None:
    with pytest.raises(StaleEvidenceError):
        judge(registry, evidence(stack=("9" * 64,)), Text())
    assert registry.state.queries == {}


def test_without_a_policy_nothing_is_judged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no policy"):
        judge(Registry.open(tmp_path / "new"), evidence(), Text())


def test_a_policy_is_changed_by_an_entry_of_its_own(registry: Registry) -> None:
    set_policy(registry, Policy(gates=GATES), reason="the same")
    stricter = Policy(gates={**GATES, "gain": {"at_least_bpb": 0.3}})
    set_policy(registry, stricter, reason="more is asked for")
    assert [event.name for event in registry.ledger] == ["policy_set", "policy_set"]
    assert judge(registry, evidence(), Text()).outcome is Outcome.REJECT
    assert registry.state.policy["reason"] == "more is asked for"


def test_a_policy_without_gates_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no gate"):
        Policy(gates={})


def test_people_have_to_approve_of_what_is_risky(registry: Registry) -> None:
    risk = RiskClass(name="wide", kinds=("phi",), approvals=2)
    set_policy(registry, Policy(gates=GATES, judging=Judging(approval=(risk,))), reason="people agree")
    decision = judge(registry, evidence(), Text())
    digest = registry.record(Weights(), evidence(), decision)
    assert decision.passed
    assert registry.entry(digest).status == "waits for approval"
    assert registry.accepted() == []
    assert registry.approve(digest[:12], by="Ada", reason="read the outputs").status == "waits for approval"
    with pytest.raises(LedgerError, match="Ada approved"):
        registry.approve(digest, by="Ada", reason="once more")
    assert registry.approve(digest, by="Grace", reason="so did I").status == "stands"
    assert [entry.digest for entry in registry.accepted()] == [digest]
    with pytest.raises(LedgerError, match="does not wait"):
        registry.approve(digest, by="Alan", reason="too late")


def test_what_did_not_pass_cannot_be_approved(registry: Registry) -> None:
    risk = RiskClass(name="all")
    set_policy(registry, Policy(gates=GATES, judging=Judging(approval=(risk,))), reason="people agree")
    decision = judge(registry, evidence(), Text(gain=0.0))
    digest = registry.record(Weights(), evidence(), decision)
    with pytest.raises(LedgerError, match="does not wait"):
        registry.approve(digest, by="Ada", reason="I like it")


def test_every_decision_is_worked_out_again(registry: Registry) -> None:
    for number, gain in enumerate((0.0, 0.2)):
        weights = Weights(bytes([number]))
        registry.record(weights, evidence(weights), judge(registry, evidence(weights), Text(gain=gain)))
    found = replay_decisions(registry)
    assert found.problems == ()
    assert (found.num_decisions, found.num_queries) == (2, 2)


def forge(decision: Decision, how: str) -> Decision:
    flipped = tuple(replace(one, outcome=Outcome.ACCEPT) for one in decision.verdicts)
    return {
        "accepts what did not pass": replace(decision, verdicts=flipped),
        "claims another bit": replace(decision, verdicts=flipped, passed=True),
        "asks nothing": replace(decision, verdicts=flipped, query=None, losses="", passed=False),
    }[how]


@pytest.mark.parametrize("how", ["accepts what did not pass", "claims another bit", "asks nothing"])
def test_a_forged_decision_is_found(registry: Registry, how: str) -> None:
    decision = forge(judge(registry, evidence(), Text(gain=0.0)), how)
    registry.record(Weights(), evidence(), decision)
    assert replay_decisions(registry).problems


def test_a_decision_that_answers_another_query_is_refused(registry: Registry) -> None:
    decision = judge(registry, evidence(), Text())
    other = Weights(b"other")
    with pytest.raises(LedgerError, match="judge it again"):
        registry.record(other, evidence(other), decision)


def test_a_bit_is_answered_once(registry: Registry) -> None:
    decision = judge(registry, evidence(), Text(gain=0.0))
    registry.record(Weights(), evidence(), decision)
    with pytest.raises(LedgerError, match="answered before"):
        registry.record(Weights(), evidence(), decision)
    assert len(registry.state.judged) == 1


def test_a_query_that_no_entry_has_is_not_answered(registry: Registry, tmp_path: Path) -> None:
    decision = judge(registry, evidence(), Text(gain=0.0))
    other = Registry.open(tmp_path / "other")
    with pytest.raises(LedgerError, match="in no entry"):
        other.record(Weights(), evidence(), decision)


@pytest.mark.parametrize(("size", "enough"), [(197, False), (198, True)])
def test_text_on_which_nothing_could_pass_is_refused(size: int, *, enough: bool) -> None:
    policy = Policy(gates=GATES)
    sizes = {"prose": 500, "code": size}
    if enough:
        must_suffice(policy, sizes, grown="prose")
    else:
        with pytest.raises(DataError, match=r"code has 197 sealed documents .* takes 198 .* 'retention'"):
            must_suffice(policy, sizes, grown="prose")


def test_a_policy_that_asks_nothing_of_sealed_text_accepts_nothing(registry: Registry) -> None:
    set_policy(registry, Policy(gates={"cost": {"at_most_params": 100}, "rollback": {}}), reason="only counts")
    decision = judge(registry, evidence(), Text())
    assert decision.outcome is Outcome.DEFER
    assert "0 gates" in decision.verdicts[-1].reason


def test_a_judge_that_fails_is_no_pass(registry: Registry) -> None:
    class Fails(Text):
        def measure(self, _query: Query) -> Mapping[str, SuiteLosses]:
            raise JudgeError("the judge gave 3 answers to 4 texts")

    decision = judge(registry, evidence(), Fails())
    assert decision.outcome is Outcome.DEFER
    assert b"3 answers" in registry.payload(decision.losses)
    registry.record(Weights(), evidence(), decision)
    assert replay_decisions(registry).problems == ()


def test_a_suite_without_sealed_text_cannot_be_asked_about(registry: Registry) -> None:
    with pytest.raises(DataError, match="asks about code, of which there is no sealed text; there is prose"):
        judge(registry, evidence(), Text(num_documents={"prose": 200}))
    assert registry.state.queries == {}


def test_a_suite_that_was_not_measured_does_not_pass_by_way_of_the_others(registry: Registry) -> None:
    misspelt = {**GATES, "retention": {"at_most_bpb": 0.1, "suites": {"kode": 0.01}}}
    set_policy(registry, Policy(gates=misspelt), reason="stricter on code")
    decision = judge(registry, evidence(), Text())
    assert decision.outcome is Outcome.DEFER
    assert registry.state.queries == {}


def test_a_protected_suite_without_a_spread_does_not_pass_either(registry: Registry) -> None:
    spreads = {"prose": evidence().spreads["prose"]}
    assert judge(registry, evidence(spreads=spreads), Text()).outcome is Outcome.DEFER
    assert registry.state.queries == {}


def test_a_policy_that_changes_while_a_graft_is_judged_asks_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stricter = Policy(gates={**GATES, "gain": {"at_least_bpb": 9.0}})
    claims_of = judging_module.claims_of

    def changes(*args: Any) -> Any:
        set_policy(registry, stricter, reason="a colleague's")
        return claims_of(*args)

    monkeypatch.setattr(judging_module, "claims_of", changes)
    with pytest.raises(StaleEvidenceError, match="policy was changed"):
        judge(registry, evidence(), Text())
    assert registry.state.queries == {}


def test_a_policy_that_changes_before_a_judgement_is_written_is_no_forgery(registry: Registry) -> None:
    decision = judge(registry, evidence(), Text())
    set_policy(registry, Policy(gates={**GATES, "gain": {"at_least_bpb": 9.0}}), reason="from now on")
    registry.record(Weights(), evidence(), decision)
    assert replay_decisions(registry).problems == ()


def test_a_stream_reads_nothing_that_a_hold_out_has_read(registry: Registry) -> None:
    judge(registry, evidence(), Text())
    stream = Judging(mode="stream", documents_per_query=50)
    set_policy(registry, Policy(gates=GATES, judging=stream), reason="a stream")
    with pytest.raises(HoldOutError, match="may have read 200"):
        judge(registry, evidence(), Text())


def test_a_stream_goes_on_where_it_was_whatever_a_query_takes(registry: Registry) -> None:
    text, places = Text(), []
    for number, take in enumerate((50, 20, 40)):
        stream = Judging(mode="stream", documents_per_query=take)
        set_policy(registry, Policy(gates=GATES, judging=stream), reason="so many")
        weights = Weights(bytes([number]))
        judge(registry, evidence(weights), text)
        query = text.asked[-1]
        places.append((query.offsets["code"], query.num_documents["code"]))
    assert places == [(0, 50), (50, 20), (70, 40)]


def test_a_graft_in_quarantine_does_not_stand_again(registry: Registry) -> None:
    digest = registry.record(Weights(), evidence(), judge(registry, evidence(), Text()))
    registry.write("quarantined", {"graft": digest, "suite": "code", "reason": "code regressed"})
    registry.rollback(digest, reason="code regressed")
    decision = judge(registry, evidence(), Text(seed=1))
    with pytest.raises(LedgerError, match="quarantine"):
        registry.record(Weights(), evidence(), decision)


def test_what_was_taken_back_meanwhile_is_not_judged_again(registry: Registry) -> None:
    digest = registry.record(Weights(), evidence(), judge(registry, evidence(), Text()))
    decision = judge(registry, evidence(), Text(seed=1), rejudges=True)
    registry.rollback(digest, reason="somebody else's")
    with pytest.raises(StaleEvidenceError):
        registry.rejudge(evidence(), decision)
    assert registry.state.standing == []


def test_judging_again_needs_no_second_approval(registry: Registry) -> None:
    few = {name: {**GATES[name], "at_most_heavy": 0.1} for name in ("gain", "retention")}
    policy = Policy(gates={**GATES, **few}, judging=Judging(approval=(RiskClass(name="all"),)))
    set_policy(registry, policy, reason="people agree")
    digest = registry.record(Weights(), evidence(), judge(registry, evidence(), Text()))
    registry.approve(digest, by="Ada", reason="read the outputs")
    decision = judge(registry, evidence(), Text(seed=1), rejudges=True)
    assert decision.outcome is Outcome.ACCEPT
    registry.rejudge(evidence(), decision)
    assert replay_decisions(registry).problems == ()


RISKY = Policy(gates=GATES, judging=Judging(approval=(RiskClass(name="all", approvals=3),)))


@pytest.mark.parametrize(
    "forged",
    [
        lambda _: Decision(verdicts=(Verdict(gate="turn", outcome=Outcome.ACCEPT, reason="mine"),)),
        lambda one: replace(one, approvals=1),
        lambda one: replace(one, approvals=0, verdicts=tuple(v for v in one.verdicts if v.gate != "approval")),
        lambda one: replace(one, risk="", approvals=0),
    ],
    ids=["a turn that accepts", "fewer approvals", "no approval", "no risk class"],
)
def test_a_forged_approval_is_found(registry: Registry, forged: Callable[[Decision], Decision]) -> None:
    set_policy(registry, RISKY, reason="people agree")
    registry.record(Weights(), evidence(), forged(judge(registry, evidence(), Text())))
    assert replay_decisions(registry).problems


def test_what_did_not_pass_does_not_wait_for_approval_whatever_it_says(registry: Registry) -> None:
    decision = replace(judge(registry, evidence(), Text(gain=0.0)), approvals=1, risk="all")
    digest = registry.record(Weights(), evidence(), decision)
    with pytest.raises(LedgerError, match="does not wait"):
        registry.approve(digest, by="Ada", reason="I like it")
    assert replay_decisions(registry).problems


def test_losses_of_each_document_twenty_times_show_nothing(registry: Registry) -> None:
    decision = judge(registry, evidence(), Text(gain=0.065))
    assert not decision.passed
    often = {
        suite: replace(one, base=one.base * 20, before=one.before * 20, after=one.after * 20)
        for suite, one in read_losses(registry.payload(decision.losses)).items()
    }
    query = decision.query
    assert query is not None
    assert all_shown(replace(query, num_documents=dict.fromkeys(often, 4000)), often), "they would show it"
    blob = registry.store.put(write_losses(often))
    accepted = tuple(replace(one, outcome=Outcome.ACCEPT) for one in decision.verdicts)
    registry.record(Weights(), evidence(), replace(decision, verdicts=accepted, passed=True, losses=blob))
    assert replay_decisions(registry).problems
