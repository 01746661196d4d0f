"""Every decision of a ledger, worked out again from what was measured."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from saint import config
from saint.errors import ConfigError, SaintError
from saint.gates import verdicts
from saint.judging._decide import APPROVAL, decide, settled, with_approval
from saint.judging._early import stops_too_early_or_late
from saint.judging._holdout import threshold
from saint.judging._ideas import idea_of
from saint.judging._judge import RETRIES, read_losses
from saint.judging._policy import Policy
from saint.judging._text_digests import other_development_text, other_sealed_text
from saint.records import Decision, Evidence, Outcome, Query, Verdict
from saint.registry import Event, Registry, State

_JUDGEMENTS = ("judged", "rejudged")
_TURN = "turn"  # who comes first is no question to the evidence


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What came of working decisions out again."""

    num_decisions: int
    num_queries: int
    """How many of them asked sealed text, and were worked out from what each document cost."""
    num_without_policy: int
    """Decisions from before the ledger had a policy: nobody can work these out."""
    problems: tuple[str, ...]


def replay_decisions(registry: Registry) -> Replayed:
    """Work every decision of the ledger out again, from its evidence, its policy, and what sealed documents cost.

    Of each is checked: the policy that was in force, the query's number, level and claims, the text that was measured,
    the bit that came back, and every gate's verdict.

    Raises:
        LedgerError: The ledger does not verify.
    """
    replayer = _Replayer(registry)
    problems = [f"entry {event.number}: {problem}" for event in registry.ledger for problem in replayer.read(event)]
    counts = replayer.num_decisions, replayer.num_queries, replayer.num_without_policy
    return Replayed(
        num_decisions=counts[0], num_queries=counts[1], num_without_policy=counts[2], problems=tuple(problems)
    )


@final
class _Replayer:
    """Reads a ledger from its first entry on."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._policy: Policy | None = None
        self._policies: dict[str, Policy] = {}
        self._queries: list[Query] = []
        self._num_asked: Counter[str] = Counter()
        self._submitted: dict[str, Mapping[str, Any]] = {}
        self._begun = State()
        self.num_decisions = self.num_queries = self.num_without_policy = 0

    def read(self, event: Event) -> Iterator[str]:
        """What is wrong with an entry; nothing for what is right, or no part of judging."""
        if event.name == "created":
            self._begun = State(created=dict(event.body))
        elif event.name == "policy_set":
            self._policy = config.build(event.body["policy"], Policy, where=f"entry {event.number}")
            self._policies[self._policy.digest] = self._policy
            if self._policy.digest != event.body["digest"]:
                yield f"the policy has digest {self._policy.digest[:12]}, not {event.body['digest'][:12]}"
        elif event.name == "submitted":
            self._submitted[event.body["graft"]] = event.body
        elif event.name == "queried":
            yield from self._query(config.build(event.body, Query, where=f"entry {event.number}"))
        elif event.name in _JUDGEMENTS:
            evidence = config.build(event.body["evidence"], Evidence, where=f"entry {event.number}")
            decision = config.build(event.body["decision"], Decision, where=f"entry {event.number}")
            yield from self._judgement(evidence, decision, event)

    def _query(self, query: Query) -> Iterator[str]:
        self._queries.append(query)
        if self._policy is None:
            yield "sealed text was asked before there was a policy"
            return
        level = threshold(self._policy.judging, query.number, query.num_passed)
        if abs(level - query.log_threshold) > 1e-6 * (1 + level):
            yield f"query {query.number} was asked at ln(1/alpha) = {query.log_threshold}, the policy has {level:.6f}"
        if query.policy != self._policy.digest:
            yield f"query {query.number} names the policy {query.policy[:12]}, in force is {self._policy.digest[:12]}"
        if query.idea and not query.rejudges:  # whether or not it is ever answered
            if self._num_asked[query.idea] > self._policy.judging.at_most_retries:
                yield f"query {query.number} is about an idea that was asked about {self._num_asked[query.idea]} times"
            self._num_asked[query.idea] += 1
        if query.early_stopping != self._policy.judging.early_stopping:
            yield f"query {query.number} may {'' if query.early_stopping else 'not '}stop early, the policy has it else"

    def _judgement(self, evidence: Evidence, decision: Decision, event: Event) -> Iterator[str]:
        self.num_decisions += 1
        if self._policy is None:
            self.num_without_policy += 1
            return
        if decision.query is not None and decision.query not in self._queries:
            yield f"query {decision.query.number} is in no entry before the decision"
            return
        try:
            policy = self._policies[decision.query.policy] if decision.query else self._policy
            expected = self._again(evidence, decision, event, policy)
        except SaintError as error:
            yield f"{evidence.graft[:12]} cannot be judged again: {error}"
            return
        yield from other_development_text(evidence, self._begun.created)
        if expected is None:
            return
        if (expected.risk, expected.approvals) != (decision.risk, decision.approvals):
            needed = f"{expected.approvals} people to approve of risk class {expected.risk or 'none'}"
            yield f"{evidence.graft[:12]}: the policy wants {needed}, the decision says {decision.approvals}"
        if expected.passed != decision.passed:
            yield f"{evidence.graft[:12]}: sealed text says {expected.passed}, the decision {decision.passed}"
        yield from self._differences(expected, decision, evidence)

    def _again(self, evidence: Evidence, decision: Decision, event: Event, policy: Policy) -> Decision | None:
        """The decision as it must come out; None for one that only waits its turn."""
        if [verdict.gate for verdict in decision.verdicts] == [_TURN]:
            if decision.outcome is not Outcome.DEFER or decision.query or decision.losses or decision.approvals:
                raise ConfigError("what waits its turn is deferred, and asks nothing")
            return None
        expected = self._asked_again(evidence, decision, event, policy)
        return expected if event.name == "rejudged" else with_approval(evidence, policy, expected)

    def _asked_again(self, evidence: Evidence, decision: Decision, event: Event, policy: Policy) -> Decision:
        query = decision.query
        if query is None:
            return self._without_query(evidence, decision, policy)
        self.num_queries += 1
        expected = [claim for gate in policy.build() for claim in gate.claims(evidence)]
        if list(query.claims) != expected:
            raise ConfigError("its query claims something else than the policy's gates do")
        if settled(evidence, policy.build()) is not None:
            raise ConfigError("development text or counts had settled it, and sealed text was asked")
        self._count(idea_of(evidence, self._submitted), query, policy)
        if decision.losses not in event.blobs:
            raise ConfigError("its entry does not name the blob of its losses")
        losses = read_losses(self._registry.payload(decision.losses))
        if problem := next(other_sealed_text(query, losses, self._begun), ""):
            raise ConfigError(problem)
        if query.early_stopping and stops_too_early_or_late(query, losses):
            raise ConfigError("its documents were not read until just after all was shown, or to the end")
        return decide(evidence, policy, query, losses)

    def _count(self, idea: str, query: Query, policy: Policy) -> None:
        """See to it that a query names its idea; older ones, which name none, count when they are answered."""
        if query.idea:
            if query.idea != idea:
                raise ConfigError("its query names another idea")
        elif not query.rejudges:
            if self._num_asked[idea] > policy.judging.at_most_retries:
                raise ConfigError(f"sealed text was asked about this idea {self._num_asked[idea]} times before")
            self._num_asked[idea] += 1

    def _without_query(self, evidence: Evidence, decision: Decision, policy: Policy) -> Decision:
        gates = policy.build()
        if (expected := settled(evidence, gates)) is not None:
            return expected
        if decision.outcome is Outcome.ACCEPT or not any(one.gate == RETRIES for one in decision.verdicts):
            raise ConfigError("sealed text had to be asked, and no query was")
        if self._num_asked[idea_of(evidence, self._submitted)] <= policy.judging.at_most_retries:
            raise ConfigError("it was refused for its retries, and has some left")
        refused = Verdict(gate=RETRIES, outcome=Outcome.REJECT, reason="")
        return Decision(verdicts=(*verdicts(evidence, gates), refused))

    def _differences(self, expected: Decision, found: Decision, evidence: Evidence) -> Iterator[str]:
        extra = (RETRIES, APPROVAL)
        now = _outcomes(one for one in expected.verdicts if one.gate not in extra)
        then = _outcomes(one for one in found.verdicts if one.gate not in extra)
        for gate in sorted(now.keys() | then.keys()):
            if now.get(gate) != then.get(gate):
                yield f"{evidence.graft[:12]}: gate {gate} says {now.get(gate)}, the decision {then.get(gate)}"
        if expected.outcome is Outcome.DEFER and found.outcome is Outcome.ACCEPT:
            yield f"{evidence.graft[:12]} was accepted, and is to be deferred"


def _outcomes(verdicts: Iterable[Verdict]) -> Mapping[str, str]:
    return {verdict.gate: str(verdict.outcome) for verdict in verdicts}
