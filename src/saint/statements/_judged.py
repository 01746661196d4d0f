from typing import Any

from saint import records
from saint.records import Outcome, composition_digest
from saint.registry import Entry, State
from saint.statements._statement import DECISION, TEST_RESULT, resource, statement

_RESULT = {Outcome.ACCEPT: "PASSED", Outcome.DEFER: "WARNED", Outcome.REJECT: "FAILED"}
_LIST = {Outcome.ACCEPT: "passedTests", Outcome.DEFER: "warnedTests", Outcome.REJECT: "failedTests"}


def test_result(entry: Entry, state: State) -> dict[str, Any]:
    """What the gates said of a graft, as an in-toto test result v0.1: a gate that defers warns.

    The configuration names what it was measured on: development text with what was found there, the policy, and sealed
    text, of which one bit is known. A graft that waits for people has passed its gates and is not accepted yet: its
    result is that of its gates.
    """
    verdicts = entry.decision.verdicts
    tests: dict[str, list[str]] = {name: [] for name in _LIST.values()}
    for verdict in verdicts:
        tests[_LIST[verdict.outcome]].append(verdict.gate)
    configuration = [*_development(entry), *_policy(entry, state), *_sealed(entry)]
    result = _RESULT[entry.decision.outcome]
    return statement(_subject(entry), TEST_RESULT, {"result": result, "configuration": configuration, **tests})


def decision(entry: Entry, state: State) -> dict[str, Any]:
    """The decision on a graft, bound to the composition that it was judged on, to the policy and to the one query."""
    query, decided = entry.decision.query, entry.decision
    asked = query and {
        "holdout": query.holdout,
        "number": query.number,
        "numPassedBefore": query.num_passed,
        "logThreshold": query.log_threshold,
        "claims": query.claims,
    }
    approvals = [
        {"by": one["by"], "reason": one["reason"], "on": one["time"], "entry": one["number"]}
        for one in state.approved.get(entry.number, [])
    ]
    body = {
        "outcome": decided.outcome,
        "passed": decided.passed,
        "verdicts": decided.verdicts,
        "base": entry.evidence.base,
        "parentComposition": composition_digest(entry.evidence.base, entry.evidence.stack),
        "stack": entry.evidence.stack,
        "policy": query.policy if query else None,
        "query": asked,
        "losses": decided.losses or None,
        "risk": decided.risk or None,
        "approvalsNeeded": decided.approvals,
        "approvals": approvals,
        "entry": entry.number,
        "decidedOn": entry.time,
    }
    return statement(_subject(entry), DECISION, body)


def _subject(entry: Entry) -> dict[str, str]:
    return {f"graft-{entry.digest[:12]}": entry.digest}


def _development(entry: Entry) -> list[dict[str, Any]]:
    """Each suite of development text with the differences that were measured on it."""
    evidence, found = entry.evidence, []
    for suite, digest in evidence.documents.items():
        measured = {
            "gain_bpb": evidence.gain_bpb if suite == evidence.grown else None,
            "regression_bpb": evidence.regression_bpb.get(suite),
            "drift_bpb": evidence.drift_bpb.get(suite),
        }
        said = {name: records.to_plain(interval) for name, interval in measured.items() if interval is not None}
        found.append(resource(f"{suite}/select", digest, **said))
    return found


def _policy(entry: Entry, state: State) -> list[dict[str, Any]]:
    """By what it was judged: the query says; without one it is the policy in force, if it was set before."""
    if entry.decision.query:
        return [resource("policy", entry.decision.query.policy)]
    policy = state.policy
    return [resource("policy", policy["digest"])] if policy and policy["number"] < entry.number else []


def _sealed(entry: Entry) -> list[dict[str, Any]]:
    if (query := entry.decision.query) is None:
        return []
    return [resource("sealed text", query.holdout, query=query.number, passed=entry.decision.passed)]
