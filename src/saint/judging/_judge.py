"""The one sequence in which a graft is judged."""

from collections.abc import Mapping
from dataclasses import replace

from saint import config, records
from saint.errors import ConfigError, DataError, JudgeError
from saint.judging._decide import SEALED, claims_of, decide, settled
from saint.judging._holdout import HoldOut, ask
from saint.judging._policy import Policy, policy_of
from saint.records import Candidate, Decision, Evidence, Outcome, Query, SuiteLosses, Verdict
from saint.registry import Registry, State

RETRIES, APPROVAL = "retries", "approval"


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
        if not rejudges and (reason := _asked_too_often(state, policy, evidence.candidate)):
            verdicts = tuple(gate.judge(evidence) for gate in gates)
            refused = Verdict(gate=RETRIES, outcome=Outcome.REJECT, reason=reason)
            return Decision(verdicts=(*verdicts, refused))
        query = ask(registry, evidence, claims_of(evidence, gates), holdout, rejudges=rejudges)
        decision = _answered(registry, evidence, policy, query, holdout)
    return _with_approval(evidence, policy, decision)


def read_losses(content: bytes) -> dict[str, SuiteLosses]:
    """Suite -> what its sealed documents cost, from the blob of a decision.

    Raises:
        ConfigError: It is no such blob.
    """
    import json

    try:
        plain = json.loads(content)
        return {suite: config.build(one, SuiteLosses, where=f"losses of {suite}") for suite, one in plain.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"the losses of a decision cannot be read ({error}); restore the blob from a copy") from error


def idea_of(candidate: Candidate) -> str:
    """A digest that all tries of one idea have in common: where, of which kind and how large, whatever the seed."""
    keys = sorted(site.key for site in candidate.sites)
    return records.digest({"sites": keys, "kind": candidate.kind, "options": candidate.options})


def _answered(registry: Registry, evidence: Evidence, policy: Policy, query: Query, holdout: HoldOut) -> Decision:
    try:
        losses = holdout.measure(query)
        content = write_losses(losses)
    except (DataError, JudgeError, ValueError) as error:
        decision = decide(evidence, policy, query, {})
        failed = Verdict(gate=SEALED, outcome=Outcome.DEFER, reason=f"sealed text could not be measured: {error}")
        return replace(decision, verdicts=(*decision.verdicts[:-1], failed))
    return replace(decide(evidence, policy, query, losses), losses=registry.store.put(content))


def write_losses(losses: Mapping[str, SuiteLosses]) -> bytes:
    """The blob that keeps them.

    Raises:
        ValueError: One is no number.
    """
    return records.to_canonical(losses).encode()


def _asked_too_often(state: State, policy: Policy, candidate: Candidate) -> str:
    allowed, idea = policy.judging.at_most_retries, idea_of(candidate)
    num_asked = sum(entry.decision.query is not None and idea_of(entry.candidate) == idea for entry in state.judged)
    if num_asked <= allowed:
        return ""
    return f"sealed text was asked about this idea {num_asked} times; the policy allows {allowed} retries"


def _with_approval(evidence: Evidence, policy: Policy, decision: Decision) -> Decision:
    """The decision, deferred where people have to approve first."""
    risk = policy.judging.risk_of(evidence.candidate, evidence.cost.num_params)
    if risk is None or decision.outcome is not Outcome.ACCEPT:
        return decision if risk is None else replace(decision, risk=risk.name)
    waits = Verdict(
        gate=APPROVAL,
        outcome=Outcome.DEFER,
        reason=f"risk class {risk.name}: {risk.approvals} to approve; `saint approve REGISTRY {evidence.graft[:12]}`",
    )
    return replace(decision, verdicts=(*decision.verdicts, waits), risk=risk.name, approvals=risk.approvals)
