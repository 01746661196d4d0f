"""The one sequence in which a graft is judged."""

import json
from collections.abc import Mapping
from dataclasses import replace

from saint import config, records
from saint.errors import ConfigError, DataError, JudgeError
from saint.gates import verdicts
from saint.judging._decide import claims_of, decide, settled, with_approval
from saint.judging._holdout import HoldOut, ask
from saint.judging._ideas import idea_of, num_asked
from saint.judging._policy import Policy, policy_of
from saint.records import Decision, Evidence, Outcome, Query, SuiteLosses, Verdict
from saint.registry import Registry, State

RETRIES = "retries"


def judge(registry: Registry, evidence: Evidence, holdout: HoldOut, *, rejudges: bool = False) -> Decision:
    """Decide about a graft by the registry's policy, with at most one query to sealed text.

    Where development text or counts settle it, sealed text is not asked. Else the query is written down, then the text
    is measured, and what each document cost is kept for whoever checks the decision. The decision itself is recorded
    by `Registry.record`.

    Args:
        rejudges: It stands already, and is judged again because something below it was taken away.

    Raises:
        ConfigError: The registry has no policy.
        HoldOutError: The hold-out may not be asked any more.
        StaleEvidenceError: Something else stands than the evidence is about.
    """
    state = registry.state
    policy = policy_of(state)
    gates = policy.build()
    if (decision := settled(evidence, gates)) is None:
        if not rejudges and (reason := _asked_too_often(state, policy, evidence)):
            refused = Verdict(gate=RETRIES, outcome=Outcome.REJECT, reason=reason)
            return with_approval(evidence, policy, Decision(verdicts=(*verdicts(evidence, gates), refused)))
        query = ask(registry, evidence, policy, claims_of(evidence, gates), holdout, rejudges=rejudges)
        decision = _answered(registry, evidence, policy, query, holdout)
    return decision if rejudges else with_approval(evidence, policy, decision)


def read_losses(content: bytes) -> dict[str, SuiteLosses]:
    """Suite -> what its sealed documents cost, from the blob of a decision; nothing where that was not measured.

    Raises:
        ConfigError: It is no such blob.
    """
    try:
        plain = json.loads(content)["suites"]
        return {suite: config.build(one, SuiteLosses, where=f"losses of {suite}") for suite, one in plain.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"the losses of a decision cannot be read ({error}); restore the blob from a copy") from error


def write_losses(losses: Mapping[str, SuiteLosses], *, failure: str = "") -> bytes:
    """The blob that keeps them, or why there are none.

    Raises:
        ValueError: One is no number.
    """
    return records.to_canonical({"suites": losses, "failure": failure}).encode()


def _answered(registry: Registry, evidence: Evidence, policy: Policy, query: Query, holdout: HoldOut) -> Decision:
    """The decision; where sealed text could not be measured the one that it comes to when nothing was shown.

    That it failed, and why, is for whoever audits: said aloud it would be a third answer, which nobody has counted.
    """
    try:
        losses = holdout.measure(query)
        decision, content = decide(evidence, policy, query, losses), write_losses(losses)
    except (DataError, JudgeError, ValueError) as error:
        decision, content = decide(evidence, policy, query, {}), write_losses({}, failure=str(error))
    return replace(decision, losses=registry.store.put(content))


def _asked_too_often(state: State, policy: Policy, evidence: Evidence) -> str:
    allowed, num = policy.judging.at_most_retries, num_asked(state, idea_of(evidence, state.submitted))
    if num <= allowed:
        return ""
    return f"sealed text was asked about this idea {num} times; the policy allows {allowed} retries"
