"""Events that may follow one another, drawn at random: a past such as years of growth leave."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from saint.records import Decision, Evidence, Outcome, Query, Verdict, digest, to_plain
from saint.registry import Event, State
from saint.testing import an_evidence

HOLDOUT = "5" * 64
_EVIDENCE = an_evidence()
Body = Mapping[str, Any]


def an_event(number: int, name: str, body: Body) -> Event:
    """An event as the ledger gives it, with what one would have for its digests."""
    plain = to_plain(body)
    mark = hashlib.sha256(f"{number} {name} {digest(plain)}".encode()).hexdigest()
    time = f"2026-01-01T00:00:{number % 60:02d}"
    return Event(number=number, name=name, body=plain, blobs=(), time=time, digest=mark, leaf=mark)


class History:
    """Draws what may come next, from the state that it is given."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._num = 0

    def next(self, state: State) -> tuple[str, Body]:
        """An event that can follow: its name and body."""
        draws: list[Callable[[State], tuple[str, Body] | None]] = [
            self._round, self._stage, self._note, self._query, self._judge, self._judge, self._roll_back, self._rejudge,
            self._approve, self._retrain,
        ]  # fmt: skip
        while (found := self.random.choice(draws)(state)) is None:
            pass
        return found

    def wrong(self, state: State) -> tuple[str, Body]:
        """An event that cannot follow."""
        evidence = replace(_EVIDENCE, graft=self._digest(), stack=(*state.standing, "f" * 64))
        query = self._ask(state, evidence)
        nobody = {"graft": self._digest(), "reason": "never stood"}
        wrong: Sequence[tuple[str, Body]] = [
            ("round_closed", {"round": -1}),
            ("round_opened", {"round": []}),
            ("stage_resumed", {"stage": -1}),
            ("trained", {"trial": ["a list"]}),
            ("rolled_back", nobody),
            ("queried", to_plain(replace(query, number=query.number + 1))),
            ("judged", _judgement(evidence, _decision("accept"))),
            ("judged", _judgement(replace(evidence, stack=tuple(state.standing)), _decision("accept", query=query))),
            ("judged", {"evidence": {}, "decision": {}}),
            ("rejudged", _judgement(evidence, _decision("accept"))),
            ("approved", {"judgement": -1, "by": "ada"}),
        ]
        return self.random.choice(wrong)

    def _digest(self) -> str:
        self._num += 1
        return hashlib.sha256(f"{self._num}".encode()).hexdigest()

    def _round(self, state: State) -> tuple[str, Body]:
        if still_open := [number for number, one in state.rounds.items() if not one["closed"]]:
            ended: Body = {"arms": [{"gain": 0.1}]} if self.random.random() < 0.7 else {"abandoned": True}
            return "round_closed", {"round": still_open[-1], **ended}
        retrained = [one["graft"] for one in state.to_retrain if self.random.random() < 0.5]
        return "round_opened", {"round": len(state.rounds), "retrained": retrained}

    def _stage(self, state: State) -> tuple[str, Body]:
        if state.skipped and self.random.random() < 0.5:
            return "stage_resumed", {"stage": next(iter(state.skipped))}
        return "stage_skipped", {"stage": self.random.randrange(5), "reason": "no budget"}

    def _note(self, _state: State) -> tuple[str, Body]:
        trial = self._digest()
        notes: Sequence[tuple[str, Body]] = [
            ("trained", {"trial": trial, "graft": self._digest(), "train_tokens": 100}),
            ("pruned", {"trial": trial}),
            ("submitted", {"graft": trial}),
            ("set_opened", {"round": self._num, "way": "joint"}),
            ("control_trained", {"stack": []}),
            ("controls_left_out", {"stack": [], "reason": "none"}),
            ("vault_opened", {}),
            ("measured", {"bpb": 1.5}),
            ("curve_measured", {"held_out_bpb": 1.25}),
            ("policy_set", {"mode": "sealed"}),
            ("noted", {"row": self._num}),
        ]
        return self.random.choice(notes)

    def _ask(self, state: State, evidence: Evidence, *, rejudges: bool = False) -> Query:
        return Query(
            number=len(state.queries.get(HOLDOUT, ())) + 1,
            num_passed=state.num_passed.get(HOLDOUT, 0),
            holdout=HOLDOUT,
            policy="6" * 64,
            graft=evidence.graft,
            base=evidence.base,
            stack=evidence.stack,
            log_threshold=4.5,
            claims=(),
            num_documents={"prose": 50},
            rejudges=rejudges,
        )

    def _query(self, state: State) -> tuple[str, Body]:
        if state.standing and self.random.random() < 0.3:
            evidence = self._again(state, self.random.choice(state.standing))
            return "queried", to_plain(self._ask(state, evidence, rejudges=True))
        return "queried", to_plain(
            self._ask(state, replace(_EVIDENCE, graft=self._digest(), stack=tuple(state.standing)))
        )

    def _judge(self, state: State) -> tuple[str, Body]:
        query = self._unanswered(state, rejudges=False)
        if query is not None and query.graft not in state.quarantined:
            evidence = replace(_EVIDENCE, graft=query.graft, stack=query.stack)
        else:
            query, evidence = None, replace(_EVIDENCE, graft=self._digest(), stack=tuple(state.standing))
        outcome = self.random.choice(["accept", "defer", "reject"] if len(state.standing) < 6 else ["defer", "reject"])
        passed = outcome == "accept" or (outcome == "defer" and self.random.random() < 0.5)
        return "judged", _judgement(evidence, _decision(outcome, query=query, passed=passed, approvals=2))

    def _rejudge(self, state: State) -> tuple[str, Body] | None:
        query = self._unanswered(state, rejudges=True)
        if query is None and not state.standing:
            return None
        graft = query.graft if query else self.random.choice(state.standing)
        outcome = self.random.choice(["accept", "reject"])
        decision = _decision(outcome, query=query, passed=outcome == "accept")
        return "rejudged", _judgement(self._again(state, graft), decision)

    def _approve(self, state: State) -> tuple[str, Body] | None:
        for entry in reversed(state.judged):
            if entry.status == "waits for approval" and entry.evidence.stack == tuple(state.standing):
                by = f"person {len(state.approved.get(entry.number, ()))}"
                return "approved", {"graft": entry.digest, "judgement": entry.number, "by": by, "reason": "fine"}
        return None

    def _roll_back(self, state: State) -> tuple[str, Body] | None:
        if not state.standing:
            return None
        return "rolled_back", {"graft": self.random.choice(state.standing), "reason": "worse on code"}

    def _retrain(self, state: State) -> tuple[str, Body] | None:
        gone = [entry.digest for entry in state.judged[-20:] if entry.status == "rolled back"]
        if not gone:
            return None
        name = self.random.choice(["quarantined", "retrain_queued"])
        return name, {"graft": self.random.choice(gone), "reason": "worse on code"}

    def _again(self, state: State, graft: str) -> Evidence:
        return replace(_EVIDENCE, graft=graft, stack=tuple(other for other in state.standing if other != graft))

    def _unanswered(self, state: State, *, rejudges: bool) -> Query | None:
        """A query that may be answered now."""
        for asked in reversed(state.queries.get(HOLDOUT, [])[-3:]):
            query, standing = asked.query, tuple(state.standing)
            fits = query.stack == (tuple(one for one in standing if one != query.graft) if rejudges else standing)
            if asked.passed is None and query.rejudges == rejudges and fits and (query.graft in standing) == rejudges:
                return query
        return None


def _decision(outcome: str, **changes: Any) -> Decision:
    return Decision(verdicts=(Verdict(gate="gain", outcome=Outcome(outcome), reason="gain +0.2"),), **changes)


def _judgement(evidence: Evidence, decision: Decision) -> Body:
    body = partial(dict, graft=evidence.graft, outcome=decision.outcome)
    return to_plain(body(evidence=evidence, decision=decision))  # type: ignore[no-any-return]
