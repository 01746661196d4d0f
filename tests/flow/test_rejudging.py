"""A graft is taken out of the middle: what stood on it is unvalidated, and is judged again."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import saint
from five_grafts import Garden
from saint.cli.main import main
from saint.composition import compose, logits_digest, probe_logits
from saint.errors import BusyError, UnknownNameError
from saint.judging import policy_of, replay_decisions
from saint.records import Outcome
from saint.registry import Registry, verify
from workshop import Workshop


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_without_the_middle_of_five_the_model_is_the_one_in_which_it_never_was(garden: Garden) -> None:
    first, second, middle, fourth, fifth = garden.digests
    blobs = {graft: garden.registry.payload(graft) for graft in garden.digests}
    with_it = probe_logits(compose(garden.base, saint.restore(garden.registry)))
    garden.registry.rollback(middle, reason="found bad a month later")
    rest = [first, second, fourth, fifth]
    left = saint.restore(garden.registry)
    assert [graft.digest for graft in left] == rest
    assert {graft: garden.registry.payload(graft) for graft in garden.digests} == blobs
    assert [graft.to_bytes() for graft in left] == [blobs[digest] for digest in rest]
    never = compose(garden.base, [graft for graft in garden.grafts if graft.digest != middle])
    without_it = probe_logits(compose(garden.base, left))
    assert torch.equal(without_it, probe_logits(never))
    assert not torch.equal(without_it, with_it)
    assert [entry.unvalidated for entry in garden.registry.accepted()] == [False, False, True, True]
    assert verify(garden.registry).problems == ()


def test_what_was_judged_on_top_is_judged_again_the_oldest_first(garden: Garden, workshop: Workshop) -> None:
    *_, middle, fourth, fifth = garden.digests
    done = run("rollback", workshop.registry, middle[:12], "--reason", "bad")
    assert done.exit_code == 0, done.output
    assert f"{fourth[:12]} was judged on what is gone, and is now unvalidated" in done.output
    assert done.output.rstrip().endswith(f"next: saint rejudge {workshop.registry}")
    assert "could not check the logits" in run("verify", workshop.registry, "--recompose").output
    done = run("rejudge", workshop.registry, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [(one["graft"], one["outcome"], one["query"]) for one in said["rejudged"]] == [
        (fourth, "accept", 6),
        (fifth, "accept", 7),
    ]
    assert (said["unvalidated"], said["queries_left"]) == ([], None)
    assert [body["rejudges"] for body in garden.entries("queried")] == [True, True]
    assert [body["evidence"]["stack"] for body in garden.entries("rejudged")] == [
        [other for other in garden.registry.state.standing if other != graft] for graft in (fourth, fifth)
    ]
    assert garden.unvalidated == []
    assert replay_decisions(garden.registry).num_queries == 7
    checked = run("verify", workshop.registry, "--recompose")
    assert "gives the recorded logits, to the bit" in checked.output, checked.output
    again = run("rejudge", workshop.registry)
    assert again.exit_code == 0
    assert "no graft that stands is unvalidated" in again.output
    assert len(garden.entries("queried")) == 2


def test_evidence_is_of_the_stack_in_its_order(garden: Garden) -> None:
    """Not of the graft put on top: of some kinds that would be another model, and of all it is rounded otherwise."""
    garden.registry.rollback(garden.digests[2], reason="bad")
    garden.rejudge(garden.digests[3])
    [body] = garden.entries("rejudged")
    stack = saint.restore(garden.registry)
    assert body["evidence"]["logits"] == logits_digest(compose(garden.base, stack))
    assert body["evidence"]["logits"] != logits_digest(compose(garden.base, [*stack[:2], stack[3], stack[2]]))


def test_what_is_rejected_is_taken_out_and_those_above_it_are_judged_again_in_turn(
    garden: Garden, workshop: Workshop
) -> None:
    first, second, *rest = garden.digests
    garden.set_gate("cost", at_most_params=1)
    garden.registry.rollback(rest[0], reason="bad")
    done = run("rejudge", workshop.registry)
    assert done.exit_code == 1, done.output
    assert f"{rest[1][:12]} rejected and taken out: cost:" in done.output
    assert [entry.digest for entry in garden.registry.accepted()] == [first, second]
    assert [body["graft"] for body in garden.entries("rolled_back")] == rest
    assert "rejected: cost:" in garden.registry.entry(rest[1]).rollback_reason
    assert garden.entries("queried") == [], "counts had settled it"
    assert replay_decisions(garden.registry).problems == ()


@pytest.mark.slow
def test_a_rejection_below_leaves_what_was_validated_above_it_to_be_judged_again(
    garden: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, middle, fourth, fifth = garden.digests
    garden.registry.rollback(middle, reason="bad")
    garden.rejudge()
    garden.registry.rollback(first, reason="bad too")
    assert garden.unvalidated == [second, fourth, fifth]
    _reject(monkeypatch, second)
    found = garden.rejudge(second)
    assert [(one.graft, one.outcome) for one in found] == [(second, Outcome.REJECT)]
    assert garden.unvalidated == [fourth, fifth], "only the one that was named was judged"
    assert [(one.graft, one.outcome) for one in garden.rejudge()] == [
        (fourth, Outcome.ACCEPT),
        (fifth, Outcome.ACCEPT),
    ]


def _reject(monkeypatch: pytest.MonkeyPatch, graft: str) -> None:
    """Have development text show harm of this one."""
    from saint.growth import _rejudge as module

    measure = module.measure

    def harmful(*args: Any, **kwargs: Any) -> Any:
        found = measure(*args, **kwargs)
        if found.graft != graft:
            return found
        worse = replace(found.gain_bpb, estimate=-3.0, low=-3.1, high=-2.9)
        return replace(found, gain_bpb=worse)

    monkeypatch.setattr(module, "measure", harmful)


@pytest.mark.slow
def test_what_is_deferred_stays_and_is_not_asked_about_again_on_the_same_stack(
    garden: Garden, workshop: Workshop
) -> None:
    lenient = policy_of(garden.registry.state)
    gates = {"gain": {"at_least_bpb": -0.01, "at_most_heavy": 1.0}, "rollback": {}}
    garden.set_policy(replace(lenient, gates=gates, judging=replace(lenient.judging, alpha=1e-12)))
    garden.registry.rollback(garden.digests[2], reason="bad")
    done = run("rejudge", workshop.registry)
    assert done.exit_code == 3, done.output
    deferred = garden.unvalidated
    assert deferred
    said = f"{deferred[0][:12]} deferred, and stays unvalidated, query"
    assert said in done.output
    num = len(garden.registry.ledger.events())
    again = run("rejudge", workshop.registry)
    assert again.exit_code == 3
    assert said in again.output
    assert len(garden.registry.ledger.events()) == num
    garden.set_policy(lenient)
    assert run("rejudge", workshop.registry).exit_code == 0, "another policy is another question"
    assert replay_decisions(garden.registry).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "times"), [("queried", 1), ("rejudged", 1), ("queried", 2), ("rejudged", 2)])
def test_a_run_that_was_killed_is_taken_up_without_a_query_twice(
    garden: Garden, monkeypatch: pytest.MonkeyPatch, entry: str, times: int
) -> None:
    garden.registry.rollback(garden.digests[2], reason="bad")
    _killed(monkeypatch, garden, after=entry, times=times)
    garden.rejudge()
    assert garden.unvalidated == []
    assert [body["graft"] for body in garden.entries("queried")] == garden.digests[3:]
    assert [body["graft"] for body in garden.entries("rejudged")] == garden.digests[3:]
    assert all(one.passed for one in garden.registry.state.queries[garden.registry.state.holdout])
    assert replay_decisions(garden.registry).problems == ()


def test_a_rejection_that_a_process_died_over_is_carried_out(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    garden.set_gate("cost", at_most_params=1)
    garden.registry.rollback(garden.digests[2], reason="bad")
    _killed(monkeypatch, garden, after="rejudged")
    assert len(garden.registry.accepted()) == 4
    garden.rejudge()
    assert [entry.digest for entry in garden.registry.accepted()] == garden.digests[:2]
    assert [body["graft"] for body in garden.entries("rejudged")] == garden.digests[3:]


def _killed(monkeypatch: pytest.MonkeyPatch, garden: Garden, *, after: str, times: int = 1) -> None:
    _interleaved(monkeypatch, garden, after=after, times=times, meanwhile=_die)


def _die() -> None:
    raise KeyboardInterrupt


def _interleaved(
    monkeypatch: pytest.MonkeyPatch, garden: Garden, *, after: str, meanwhile: Callable[[], object], times: int = 1
) -> None:
    """Judge again, and do something each time that so many entries of a name were written."""
    append, left = garden.registry.ledger.append, iter(range(times, 0, -1))

    def interleaved(name: str, *args: Any, **kwargs: Any) -> Any:
        done = append(name, *args, **kwargs)
        if name == after and next(left, 0) == 1:
            meanwhile()
        return done

    with monkeypatch.context() as patch:
        patch.setattr(garden.registry.ledger, "append", interleaved)
        try:
            garden.rejudge()
        except KeyboardInterrupt:
            assert meanwhile is _die


def test_a_rollback_waits_for_what_is_being_judged(
    garden: Garden, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, middle, *_ = garden.digests
    garden.registry.rollback(middle, reason="bad")
    command = [sys.executable, "-m", "saint.cli", "rollback", str(workshop.registry), first[:12], "--reason", "now"]
    started: list[subprocess.Popen[str]] = []

    def roll_back() -> None:
        with pytest.raises(BusyError):
            Registry.open(workshop.registry).rollback(first, reason="now")
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        assert started[0].stderr is not None
        assert "another process grows" in started[0].stderr.readline()

    _interleaved(monkeypatch, garden, after="queried", meanwhile=roll_back)
    said, errors = started[0].communicate(timeout=60)
    assert started[0].returncode == 0, errors
    assert f"rolled back {first[:12]}" in said
    names = [event.name for event in garden.registry.ledger]
    assert names[-1] == "rolled_back"
    assert "rejudged" in names, "what was asked was answered first"
    assert first not in garden.registry.state.standing


def test_rolling_back_and_judging_again_at_once(garden: Garden, workshop: Workshop) -> None:
    done = run("rollback", workshop.registry, garden.digests[2][:12], "--reason", "bad", "--rejudge")
    assert done.exit_code == 0, done.output
    assert done.output.count("validated again, query") == 2
    assert "sealed text may be asked as often as it takes; the next query is asked at ln(1/alpha)" in done.output
    assert garden.unvalidated == []


def test_a_hold_out_that_is_used_up_leaves_the_rest_unvalidated_and_says_so(garden: Garden, workshop: Workshop) -> None:
    policy = policy_of(garden.registry.state)
    garden.set_policy(replace(policy, judging=replace(policy.judging, at_most_queries=6)))
    garden.registry.rollback(garden.digests[2], reason="bad")
    done = run("rejudge", workshop.registry)
    assert done.exit_code == 3, done.output
    assert f"{garden.digests[4][:12]} not judged, and stays unvalidated" in done.output
    assert "expired" in done.output
    assert "may be asked 0 more times" in done.output
    assert garden.unvalidated == [garden.digests[4]]


def test_only_what_is_unvalidated_is_judged_again(garden: Garden, workshop: Workshop) -> None:
    with pytest.raises(UnknownNameError, match="stands on what it was judged on, so it is not judged again"):
        garden.rejudge(garden.digests[4])
    garden.registry.rollback(garden.digests[2], reason="bad")
    refused = run("rejudge", workshop.registry, garden.digests[2][:12])
    assert refused.exit_code == 2
    assert "is rolled back, so it is not judged again" in refused.output
    done = run("rejudge", workshop.registry, garden.digests[4][:12])
    assert done.exit_code == 0, done.output
    assert f"unvalidated: {garden.digests[3][:12]}" in done.output
    assert garden.unvalidated == [garden.digests[3]]


def test_a_base_without_a_judgement_is_a_usage_error(garden: Garden, workshop: Workshop) -> None:
    refused = run("rollback", workshop.registry, garden.digests[2][:12], "--reason", "x", "--base", "elsewhere")
    assert refused.exit_code == 2
    assert len(garden.registry.accepted()) == 5
