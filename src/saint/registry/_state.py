"""The present, as the ledger's events add up to it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint import config, records
from saint.errors import ConfigError, LedgerError
from saint.records import Candidate, Decision, Evidence, Outcome, Query
from saint.registry._ledger import Event
from saint.registry._spent import Spent, spent_in

Status = Literal["stands", "rolled back", "deferred", "rejected", "waits for approval"]
_SEALED = ("held_out", "retain", "safety")
_STATUS_OF: dict[Outcome, Status] = {
    Outcome.ACCEPT: "stands",
    Outcome.DEFER: "deferred",
    Outcome.REJECT: "rejected",
}


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One judgement of one graft, and what became of it."""

    digest: str
    candidate: Candidate
    evidence: Evidence
    decision: Decision
    number: int
    """The ledger's entry that records the judgement."""
    time: str
    round: int | None
    status: Status
    rollback_reason: str = ""
    unvalidated: bool = False
    """It stands, but not on the stack that it was judged on: something below it was rolled back since."""
    validated_on: tuple[str, ...] | None = None
    """What stood below it when it was judged again, if it was and passed."""


@final
@dataclass(kw_only=True)
class Asked:
    """One query to sealed text, and what became of it."""

    query: Query
    number: int
    """The ledger's entry that has the query."""
    passed: bool | None = None
    """The bit that came back; None for a query whose answer nobody wrote down, which counts all the same."""


@final
@dataclass
class State:
    """What stands, what was tried, and where growth has come to."""

    created: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    """Digest of the base that all evidence is about; "" until there is some."""
    judged: list[Entry] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    """Digests of the grafts that stand, oldest first."""
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Round -> the event that opened it, with `closed`, `abandoned` and, once it ended, what the `arms` gained."""
    skipped: dict[int, str] = field(default_factory=dict)
    """Stage of the plan -> why what was left of it was not grown."""
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of the candidate and the stack it was trained on -> the event, with the graft's digest."""
    submitted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of a graft that was trained elsewhere -> the event that says where it came from."""
    controls: list[dict[str, Any]] = field(default_factory=list)
    controls_left_out: list[dict[str, Any]] = field(default_factory=list)
    """The events that say for which stack there are no controls, and why."""
    measured: list[dict[str, Any]] = field(default_factory=list)
    """What was measured on the vault, each time that it was opened."""
    num_vault_openings: int = 0
    sets: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """(round, `joint` or `overgrow`) -> the event that says what is made of trained grafts there, or why nothing is."""
    pruned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of a trial -> the event that says what each site of its graft was worth, and which were kept."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """What was measured of the bare base, and of the stack at the end of each round, beside what growth had spent."""
    policy: dict[str, Any] = field(default_factory=dict)
    """The event that says by what decisions are made now."""
    queries: dict[str, list[Asked]] = field(default_factory=dict)
    """Digest of a hold-out -> what it was asked, oldest first."""
    retired: dict[str, str] = field(default_factory=dict)
    """Digest of a hold-out -> why it is not to be asked any more."""
    approved: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Entry of a judgement -> the events of people who approve of it."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Digest of a graft -> why it must not stand again."""
    to_retrain: list[dict[str, Any]] = field(default_factory=list)
    """Candidates that are to be grown again, oldest first, as long as no round has taken them up."""
    others: list[Event] = field(default_factory=list)

    @property
    def holdout(self) -> str:
        """Digest of the registry's sealed text, from its first entry; "" for a registry that was made without text."""
        return holdout_digest(self.created.get("data", {}), self.created.get("suites", {}))

    @property
    def spent(self) -> Spent:
        """What all trials so far took, and the short ones that candidates were chosen by."""
        return spent_in([*self.trained.values(), *(one.get("rerank", {}) for one in self.rounds.values())])


def num_passed(asked: Iterable[Asked]) -> int:
    """How many queries were answered yes, those included whose answer nobody wrote down: it may have got out."""
    return sum(one.passed is not False for one in asked)


def holdout_digest(data: Mapping[str, Mapping[str, Any]], suites: Mapping[str, Mapping[str, Any]]) -> str:
    """What a hold-out is known by: the digests of all sealed text; "" where there is none.

    Args:
        data: domain/split -> its description, as a registry's first entry has it.
        suites: suite/part -> the same.
    """
    text = {name.partition("/")[0]: one["digest"] for name, one in data.items() if name.partition("/")[2] in _SEALED}
    items = {name.partition("/")[0]: one["digest"] for name, one in suites.items() if name.endswith("/gate")}
    return records.digest({"text": text, "suites": items}) if text else ""


def replay(events: Iterable[Event]) -> State:
    """Add the events up.

    Raises:
        LedgerError: An event cannot follow those before it.
    """
    state = State()
    for event in events:
        if add := _ADDED.get(event.name):
            try:
                add(state, event)
            except (ConfigError, LookupError, TypeError, AttributeError) as error:
                said = str(error) if isinstance(error, ConfigError) else repr(error)
                raise LedgerError(
                    f"entry {event.number} does not say what a {event.name!r} entry has to ({said}); "
                    "restore the log from a copy"
                ) from error
        else:
            state.others.append(event)
    return state


def _create(state: State, event: Event) -> None:
    state.created, state.base = dict(event.body), event.body.get("base", {}).get("digest", "")


def _open_round(state: State, event: Event) -> None:
    state.rounds[event.body["round"]] = {**event.body, "closed": False, "abandoned": False}
    taken = event.body.get("retrained", [])
    state.to_retrain = [one for one in state.to_retrain if one["graft"] not in taken]


def _close_round(state: State, event: Event) -> None:
    state.rounds[event.body["round"]].update(
        closed=True, abandoned="abandoned" in event.body, arms=event.body.get("arms", [])
    )


def _skip_stage(state: State, event: Event) -> None:
    state.skipped[event.body["stage"]] = event.body["reason"]


def _resume_stage(state: State, event: Event) -> None:
    del state.skipped[event.body["stage"]]


def _train(state: State, event: Event) -> None:
    state.trained[event.body["trial"]] = {**event.body, "number": event.number, "time": event.time}


def _submit(state: State, event: Event) -> None:
    state.submitted[event.body["graft"]] = dict(event.body)


def _train_control(state: State, event: Event) -> None:
    state.controls.append(dict(event.body))


def _leave_controls_out(state: State, event: Event) -> None:
    state.controls_left_out.append({"stack": event.body["stack"], "reason": event.body["reason"]})


def _open_vault(state: State, _event: Event) -> None:
    state.num_vault_openings += 1


def _measure(state: State, event: Event) -> None:
    state.measured.append({**event.body, "number": event.number, "time": event.time})


def _extend_curve(state: State, event: Event) -> None:
    older = {"split": "held_out", "grown_bpb": event.body.get("held_out_bpb")}  # before sealed text was sealed
    state.curve.append({**older, **event.body})


def _open_set(state: State, event: Event) -> None:
    state.sets[event.body["round"], event.body["way"]] = dict(event.body)


def _prune(state: State, event: Event) -> None:
    state.pruned[event.body["trial"]] = dict(event.body)


def _set_policy(state: State, event: Event) -> None:
    state.policy = {**event.body, "number": event.number}


def _query(state: State, event: Event) -> None:
    query = config.build(event.body, Query, where=f"entry {event.number}")
    if (known := state.holdout) and query.holdout != known:
        raise LedgerError(
            f"entry {event.number} asks the hold-out {query.holdout[:12]}, this registry's is {known[:12]}; open the "
            "text that it was started with"
        )
    before = state.queries.setdefault(query.holdout, [])
    counted = (len(before) + 1, num_passed(before))
    if (query.number, query.num_passed) != counted:
        raise LedgerError(
            f"entry {event.number} counts as query {query.number} with {query.num_passed} passed before it, the ledger "
            f"has it as {counted[0]} with {counted[1]}; the ledger was not written by saint-g as it is"
        )
    before.append(Asked(query=query, number=event.number))


def _retire(state: State, event: Event) -> None:
    state.retired[event.body["holdout"]] = event.body["reason"]


def _answer(state: State, evidence: Evidence, decision: Decision, event: Event) -> None:
    """Put the bit of a decision to the query that it answers."""
    if (query := decision.query) is None:
        return
    is_again = event.name == "rejudged"
    if (query.graft, query.base, query.stack, query.rejudges) != (
        evidence.graft,
        evidence.base,
        evidence.stack,
        is_again,
    ):
        raise LedgerError(
            f"entry {event.number} answers query {query.number} about {query.graft[:12]} with evidence about "
            f"{evidence.graft[:12]}; the ledger was not written by saint-g as it is"
        )
    asked = state.queries.get(query.holdout, [])
    mine = asked[query.number - 1] if query.number <= len(asked) else None
    if mine is None or mine.query != query or mine.passed is not None:
        raise LedgerError(
            f"entry {event.number} answers query {query.number}, which is another one or was answered before; the "
            "ledger was not written by saint-g as it is"
        )
    mine.passed = decision.passed


def _judge(state: State, event: Event) -> None:
    evidence = config.build(event.body["evidence"], Evidence, where=f"entry {event.number}")
    decision = config.build(event.body["decision"], Decision, where=f"entry {event.number}")
    if evidence.stack != tuple(state.standing):
        raise LedgerError(
            f"entry {event.number} judges a graft on a stack of {len(evidence.stack)} that did not stand then; "
            "the ledger was not written by saint-g as it is"
        )
    _answer(state, evidence, decision, event)
    if decision.outcome is Outcome.ACCEPT and evidence.graft in state.quarantined:
        raise LedgerError(f"entry {event.number} lets {evidence.graft[:12]} stand, which is in quarantine")
    state.base = state.base or evidence.base
    waits = decision.outcome is Outcome.DEFER and decision.approvals > 0 and decision.passed
    state.judged.append(
        Entry(
            digest=evidence.graft,
            candidate=evidence.candidate,
            evidence=evidence,
            decision=decision,
            number=event.number,
            time=event.time,
            round=event.body.get("round"),
            status="waits for approval" if waits else _STATUS_OF[decision.outcome],
        )
    )
    if decision.outcome is Outcome.ACCEPT:
        state.standing.append(evidence.graft)


def _approve(state: State, event: Event) -> None:
    number = event.body["judgement"]
    index = next(i for i, entry in enumerate(state.judged) if entry.number == number)
    entry, said = state.judged[index], state.approved.setdefault(number, [])
    if entry.status != "waits for approval" or entry.evidence.stack != tuple(state.standing):
        raise LedgerError(f"entry {event.number} approves of {entry.digest[:12]}, which did not wait for that then")
    said.append({**event.body, "number": event.number, "time": event.time})
    if len({one["by"] for one in said}) >= entry.decision.approvals:
        state.judged[index] = _with(entry, status="stands")
        state.standing.append(entry.digest)


def _rejudge(state: State, event: Event) -> None:
    """A graft that stands was judged again, on all others that stand."""
    evidence = config.build(event.body["evidence"], Evidence, where=f"entry {event.number}")
    decision = config.build(event.body["decision"], Decision, where=f"entry {event.number}")
    others = tuple(digest for digest in state.standing if digest != evidence.graft)
    if evidence.graft not in state.standing or evidence.stack != others:
        raise LedgerError(f"entry {event.number} judges {evidence.graft[:12]} again on a stack that did not stand then")
    _answer(state, evidence, decision, event)
    if decision.outcome is Outcome.ACCEPT:
        below = tuple(state.standing[: state.standing.index(evidence.graft)])
        state.judged = [
            _with(entry, unvalidated=False, validated_on=below)
            if entry.digest == evidence.graft and entry.status == "stands"
            else entry
            for entry in state.judged
        ]


def _quarantine(state: State, event: Event) -> None:
    state.quarantined[event.body["graft"]] = event.body["reason"]


def _queue_retrain(state: State, event: Event) -> None:
    state.to_retrain.append(dict(event.body))


def _roll_back(state: State, event: Event) -> None:
    graft = event.body["graft"]
    if graft not in state.standing:
        raise LedgerError(f"entry {event.number} rolls back {graft[:12]}, which did not stand then")
    state.standing.remove(graft)
    changes = {"status": "rolled back", "rollback_reason": event.body["reason"]}
    state.judged = [
        _with(entry, **changes) if entry.digest == graft and entry.status == "stands" else entry
        for entry in state.judged
    ]
    for index, entry in enumerate(state.judged):
        if entry.status == "stands":
            below = tuple(state.standing[: state.standing.index(entry.digest)])
            judged_on = entry.evidence.stack if entry.validated_on is None else entry.validated_on
            state.judged[index] = _with(entry, unvalidated=judged_on != below)


def _with(entry: Entry, **changes: Any) -> Entry:
    return Entry(**{**vars(entry), **changes})


_ADDED: dict[str, Callable[[State, Event], None]] = {
    "created": _create,
    "round_opened": _open_round,
    "round_closed": _close_round,
    "stage_skipped": _skip_stage,
    "stage_resumed": _resume_stage,
    "trained": _train,
    "set_opened": _open_set,
    "pruned": _prune,
    "submitted": _submit,
    "judged": _judge,
    "rolled_back": _roll_back,
    "control_trained": _train_control,
    "controls_left_out": _leave_controls_out,
    "vault_opened": _open_vault,
    "measured": _measure,
    "curve_measured": _extend_curve,
    "policy_set": _set_policy,
    "queried": _query,
    "holdout_retired": _retire,
    "approved": _approve,
    "rejudged": _rejudge,
    "quarantined": _quarantine,
    "retrain_queued": _queue_retrain,
}
