"""What each event changes. Every one is checked before anything changes, so that a state is never left half-changed."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from saint import config
from saint.errors import ConfigError, LedgerError
from saint.records import Decision, Evidence, Outcome, Query
from saint.registry._compositions import named_in
from saint.registry._ledger import Event
from saint.registry._state import Asked, Entry, State, Status

Change = Callable[[], object]
"""Changes the state that it was made for; cannot fail."""
_STATUS_OF: dict[Outcome, Status] = {
    Outcome.ACCEPT: "stands",
    Outcome.DEFER: "deferred",
    Outcome.REJECT: "rejected",
}


def replay(events: Iterable[Event]) -> State:
    """Add the events up.

    Raises:
        LedgerError: An event cannot follow those before it.
    """
    state = State()
    for event in events:
        change_of(state, event)()
    return state


def change_of(state: State, event: Event) -> Change:
    """What an event that follows those of `state` changes of it; nothing is changed before that is called.

    Raises:
        LedgerError: The event cannot follow.
    """
    if (plan := _CHANGES.get(event.name)) is None:
        return _append(state, "others", event)
    try:
        return plan(state, event)
    except (ConfigError, LookupError, TypeError, AttributeError) as error:
        said = str(error) if isinstance(error, ConfigError) else repr(error)
        raise LedgerError(
            f"entry {event.number} does not say what a {event.name!r} entry has to ({said}); "
            "restore the log from a copy"
        ) from error


def _assign(state: State, **members: Any) -> Change:
    return lambda: state.assign(members)


def _put(state: State, member: str, key: Hashable, value: Any) -> Change:
    hash(key)  # a list cannot be a key: say so now
    return lambda: state.own(member).__setitem__(key, value)


def _append(state: State, member: str, item: Any) -> Change:
    return lambda: state.own(member).append(item)


def _append_under(state: State, member: str, key: Hashable, item: Any) -> Change:
    hash(key)
    return lambda: state.own_list(member, key).append(item)


def _all(*changes: Change) -> Change:
    return lambda: [change() for change in changes]


def _nothing() -> None:
    """Of events that change nothing further."""


def _create(state: State, event: Event) -> Change:
    return _assign(state, created=dict(event.body), base=event.body.get("base", {}).get("digest", ""))


def _open_round(state: State, event: Event) -> Change:
    taken = event.body.get("retrained", [])
    left = [one for one in state.to_retrain if one["graft"] not in taken]
    opened = {**event.body, "closed": False, "abandoned": False}
    return _all(_put(state, "rounds", event.body["round"], opened), _assign(state, to_retrain=left))


def _close_round(state: State, event: Event) -> Change:
    number = event.body["round"]
    ended = {"closed": True, "abandoned": "abandoned" in event.body, "arms": event.body.get("arms", [])}
    return _put(state, "rounds", number, {**state.rounds[number], **ended})


def _skip_stage(state: State, event: Event) -> Change:
    return _put(state, "skipped", event.body["stage"], event.body["reason"])


def _resume_stage(state: State, event: Event) -> Change:
    stage = event.body["stage"]
    state.skipped[stage]  # must be there
    return lambda: state.own("skipped").pop(stage)


def _keep(member: str, key: str) -> Callable[[State, Event], Change]:
    """The event as it is, under what it says of `key`."""
    return lambda state, event: _put(state, member, event.body[key], dict(event.body))


def _train(state: State, event: Event) -> Change:
    return _put(state, "trained", event.body["trial"], {**event.body, "number": event.number, "time": event.time})


def _collect(member: str) -> Callable[[State, Event], Change]:
    """The event as it is, after the others of its kind."""
    return lambda state, event: _append(state, member, dict(event.body))


def _leave_controls_out(state: State, event: Event) -> Change:
    said = {"stack": event.body["stack"], "reason": event.body["reason"]}
    return _append(state, "controls_left_out", said)


def _open_vault(state: State, _event: Event) -> Change:
    return _assign(state, num_vault_openings=state.num_vault_openings + 1)


def _measure(state: State, event: Event) -> Change:
    return _append(state, "measured", {**event.body, "number": event.number, "time": event.time})


def _extend_curve(state: State, event: Event) -> Change:
    older = {"split": "held_out", "grown_bpb": event.body.get("held_out_bpb")}  # before sealed text was sealed
    return _append(state, "curve", {**older, **event.body})


def _open_set(state: State, event: Event) -> Change:
    return _put(state, "sets", (event.body["round"], event.body["way"]), dict(event.body))


def _set_policy(state: State, event: Event) -> Change:
    return _assign(state, policy={**event.body, "number": event.number})


def _query(state: State, event: Event) -> Change:
    query = config.build(event.body, Query, where=f"entry {event.number}")
    if (known := state.holdout) and query.holdout != known:
        raise LedgerError(
            f"entry {event.number} asks the hold-out {query.holdout[:12]}, this registry's is {known[:12]}; open the "
            "text that it was started with"
        )
    num_passed = state.num_passed.get(query.holdout, 0)
    counted = (len(state.queries.get(query.holdout, ())) + 1, num_passed)
    if (query.number, query.num_passed) != counted:
        raise LedgerError(
            f"entry {event.number} counts as query {query.number} with {query.num_passed} passed before it, the ledger "
            f"has it as {counted[0]} with {counted[1]}; the ledger was not written by saint-g as it is"
        )
    return _all(
        _append_under(state, "queries", query.holdout, Asked(query=query, number=event.number)),
        _put(state, "num_passed", query.holdout, num_passed + 1),  # it may have, until somebody says that it did not
    )


def _retire(state: State, event: Event) -> Change:
    return _put(state, "retired", event.body["holdout"], event.body["reason"])


def _answer(state: State, evidence: Evidence, decision: Decision, event: Event) -> Change:
    """Put the bit of a decision to the query that it answers."""
    if (query := decision.query) is None:
        return _nothing
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
    answered, index = replace(mine, passed=decision.passed), query.number - 1
    num_passed = state.num_passed[query.holdout] - (not decision.passed)
    return _all(
        lambda: state.own_list("queries", query.holdout).__setitem__(index, answered),
        _put(state, "num_passed", query.holdout, num_passed),
    )


def _judge(state: State, event: Event) -> Change:
    evidence = config.build(event.body["evidence"], Evidence, where=f"entry {event.number}")
    decision = config.build(event.body["decision"], Decision, where=f"entry {event.number}")
    if evidence.stack != tuple(state.standing):
        raise LedgerError(
            f"entry {event.number} judges a graft on a stack of {len(evidence.stack)} that did not stand then; "
            "the ledger was not written by saint-g as it is"
        )
    answer = _answer(state, evidence, decision, event)
    if decision.outcome is Outcome.ACCEPT and evidence.graft in state.quarantined:
        raise LedgerError(f"entry {event.number} lets {evidence.graft[:12]} stand, which is in quarantine")
    waits = decision.outcome is Outcome.DEFER and decision.approvals > 0 and decision.passed
    entry = Entry(
        digest=evidence.graft,
        candidate=evidence.candidate,
        evidence=evidence,
        decision=decision,
        number=event.number,
        time=event.time,
        round=event.body.get("round"),
        status="waits for approval" if waits else _STATUS_OF[decision.outcome],
    )
    stands = _append(state, "standing", entry.digest) if decision.outcome is Outcome.ACCEPT else _nothing
    return _all(answer, _assign(state, base=state.base or evidence.base), _append(state, "judged", entry), stands)


def _approve(state: State, event: Event) -> Change:
    number = event.body["judgement"]
    index = next((i for i in reversed(range(len(state.judged))) if state.judged[i].number == number), None)
    if index is None:
        raise LedgerError(f"entry {event.number} approves of entry {number}, which judges nothing")
    entry = state.judged[index]
    if entry.status != "waits for approval" or entry.evidence.stack != tuple(state.standing):
        raise LedgerError(f"entry {event.number} approves of {entry.digest[:12]}, which did not wait for that then")
    said = {**event.body, "number": event.number, "time": event.time}
    says = _append_under(state, "approved", number, said)
    if len({one["by"] for one in [*state.approved.get(number, []), said]}) < entry.decision.approvals:
        return says
    judged = partial(_judged, state, {index: replace(entry, status="stands")})
    return _all(says, judged, _append(state, "standing", entry.digest))


def _rejudge(state: State, event: Event) -> Change:
    """A graft that stands was judged again, on all others that stand."""
    evidence = config.build(event.body["evidence"], Evidence, where=f"entry {event.number}")
    decision = config.build(event.body["decision"], Decision, where=f"entry {event.number}")
    others = tuple(digest for digest in state.standing if digest != evidence.graft)
    if evidence.graft not in state.standing or evidence.stack != others:
        raise LedgerError(f"entry {event.number} judges {evidence.graft[:12]} again on a stack that did not stand then")
    answer = _answer(state, evidence, decision, event)
    if decision.outcome is not Outcome.ACCEPT:
        return answer
    below = tuple(state.standing[: state.standing.index(evidence.graft)])
    changed = {
        index: replace(entry, unvalidated=False, validated_on=below)
        for index, entry in enumerate(state.judged)
        if entry.digest == evidence.graft and entry.status == "stands"
    }
    return _all(answer, partial(_judged, state, changed))


def _quarantine(state: State, event: Event) -> Change:
    return _put(state, "quarantined", event.body["graft"], event.body["reason"])


def _roll_back(state: State, event: Event) -> Change:
    graft, reason = event.body["graft"], event.body["reason"]
    if graft not in state.standing:
        raise LedgerError(f"entry {event.number} rolls back {graft[:12]}, which did not stand then")
    left = list(state.standing)
    left.remove(graft)
    changed = {}
    for index, entry in enumerate(state.judged):
        if entry.status == "stands" and entry.digest == graft:
            changed[index] = replace(entry, status="rolled back", rollback_reason=reason)
        elif entry.status == "stands":
            below = tuple(left[: left.index(entry.digest)])
            judged_on = entry.evidence.stack if entry.validated_on is None else entry.validated_on
            changed[index] = replace(entry, unvalidated=judged_on != below)
    return _all(_assign(state, standing=left), partial(_judged, state, changed))


def _compose(state: State, event: Event) -> Change:
    said = named_in(state, event.body, where=f"entry {event.number}")
    return _put(state, "compositions", event.body["name"], {**said, "number": event.number, "time": event.time})


def _remove_composition(state: State, event: Event) -> Change:
    name = event.body["name"]
    if (digest := state.compositions[name]["composition"]) != event.body["composition"]:
        raise LedgerError(f"entry {event.number} removes composition {name}, which then was {digest[:12]}")
    return lambda: state.own("compositions").pop(name)


def _judged(state: State, changed: dict[int, Entry]) -> None:
    judged = state.own("judged")
    for index, entry in changed.items():
        judged[index] = entry


_CHANGES: dict[str, Callable[[State, Event], Change]] = {
    "created": _create,
    "round_opened": _open_round,
    "round_closed": _close_round,
    "stage_skipped": _skip_stage,
    "stage_resumed": _resume_stage,
    "trained": _train,
    "set_opened": _open_set,
    "pruned": _keep("pruned", "trial"),
    "submitted": _keep("submitted", "graft"),
    "judged": _judge,
    "rolled_back": _roll_back,
    "control_trained": _collect("controls"),
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
    "retrain_queued": _collect("to_retrain"),
    "composed": _compose,
    "composition_removed": _remove_composition,
}
