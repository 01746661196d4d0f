"""From what was measured to a decision: pure, so that anyone can work every decision out again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from saint.gates import Gate, verdicts
from saint.judging._answer import all_shown
from saint.judging._early import all_shown_early
from saint.judging._policy import Policy
from saint.records import Claim, Decision, Evidence, Outcome, Query, Spread, SuiteLosses, Verdict
from saint.statistics import documents_needed

SEALED, APPROVAL = "sealed", "approval"


def settled(evidence: Evidence, gates: Sequence[Gate]) -> Decision | None:
    """The decision if development text and counts suffice for one, so that sealed text need not be asked; else None.

    They do where a gate rejects, and where one does not accept that has nothing to ask of sealed text. A policy of
    which no gate asks sealed text anything accepts nothing: whoever searches has looked at all the rest. Where the mean
    on development text lies on the wrong side of what a gate asks, sealed text is not asked either: it would most
    likely say no, and each question makes the next one harder.
    """
    said, claims = verdicts(evidence, gates), claims_of(evidence, gates)
    asking = {claim.gate for claim in claims}
    stops = [
        one
        for one in said
        if one.outcome is Outcome.REJECT or (one.gate not in asking and one.outcome is not Outcome.ACCEPT)
    ]
    if stops:
        return Decision(verdicts=said)
    if not asking:
        reason = "0 gates of the policy ask sealed text anything; add one that does, such as [gates.gain]"
        return Decision(verdicts=(*said, Verdict(gate=SEALED, outcome=Outcome.DEFER, reason=reason)))
    hopeless = [claim for claim in claims if _effect(evidence, claim) <= 0]
    if not hopeless:
        return None
    reason = f"sealed text was not asked: {', '.join(_hopeless(evidence, claim) for claim in hopeless)}"
    return Decision(verdicts=(*said, Verdict(gate=SEALED, outcome=Outcome.DEFER, reason=reason)))


def _hopeless(evidence: Evidence, claim: Claim) -> str:
    """Why development text gives no hope for a claim; of a mean that is right at its limit, what that limit asks."""
    spread = _spread(evidence, claim)
    assert spread is not None  # else there is hope
    above = claim.above + 0.0  # no minus before a zero
    said = (
        f"on development text the mean saved on {claim.suite} is {spread.mean:+.4f}, and {claim.gate} asks for more "
        f"than {above:+.4f}"
    )
    gives_no_room = claim.above == 0 and claim.gate != "gain"
    return (
        f"{said}, as its limit is 0; a limit above 0 lets a graft leave the suite as it is" if gives_no_room else said
    )


def claims_of(evidence: Evidence, gates: Sequence[Gate]) -> tuple[Claim, ...]:
    """All that the gates want sealed text to show."""
    return tuple(claim for gate in gates for claim in gate.claims(evidence))


def decide(evidence: Evidence, policy: Policy, query: Query, losses: Mapping[str, SuiteLosses]) -> Decision:
    """The decision that a query comes to: accept if sealed text shows every claim at the query's level, else defer.

    Only that one bit is from sealed text. What a verdict says in numbers is from development text, and so is the guess
    at how many documents would have done.

    Args:
        losses: Suite -> what its sealed documents cost; nothing for a query that could not be measured.
    """
    gates = policy.build()
    passed = (all_shown_early if query.early_stopping else all_shown)(query, losses)
    outcome = Outcome.ACCEPT if passed else Outcome.DEFER
    asking = {claim.gate for claim in query.claims}
    said = tuple(replace(one, outcome=outcome) if one.gate in asking else one for one in verdicts(evidence, gates))
    reason = _found(query) if passed else f"{_found(query, shown=False)}; {_would_take(evidence, query)}"
    return Decision(verdicts=(*said, Verdict(gate=SEALED, outcome=outcome, reason=reason)), query=query, passed=passed)


def with_approval(evidence: Evidence, policy: Policy, decision: Decision) -> Decision:
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


def _found(query: Query, *, shown: bool = True) -> str:
    what = "all of it was shown" if shown else "not all of it was shown"
    return (
        f"query {query.number} of hold-out {query.holdout[:12]}, {query.num_passed} passed before: of "
        f"{len(query.claims)} claims at ln(1/alpha) = {query.log_threshold:.1f} {what}"
    )


def _would_take(evidence: Evidence, query: Query) -> str:
    """How many documents each claim would take if sealed text were like development text."""
    return "as development text has it, that takes about " + ", ".join(
        f"{documents_of(evidence, claim, query.log_threshold)} documents of {claim.suite} for {claim.gate} "
        f"(there are {query.num_documents[claim.suite]})"
        for claim in query.claims
    )


def documents_of(evidence: Evidence, claim: Claim, log_threshold: float) -> str:
    """About how many documents a claim takes, as development text has it; in words where no number will do."""
    spread = _spread(evidence, claim)
    if spread is None or claim.test != "mean":
        return "an unknown number of"
    if (effect := _effect(evidence, claim)) <= 0:
        return "more than any number of"
    return f"{documents_needed(effect, spread.deviation, log_threshold, clip=claim.clip, above=claim.above):,}"


def _spread(evidence: Evidence, claim: Claim) -> Spread | None:
    """How the differences that a claim is about lie on development text."""
    if claim.suite in evidence.safety:
        return evidence.safety[claim.suite].spread
    return evidence.spreads.get(claim.suite, {}).get(claim.against)


def _effect(evidence: Evidence, claim: Claim) -> float:
    """By how much development text has the mean on the right side of what is claimed; above 0 where nobody knows."""
    spread = _spread(evidence, claim)
    return inf if spread is None or claim.test != "mean" else spread.mean - claim.above
