"""Grafts that were trained apart do not add up, so they come to stand one after the other."""

from collections.abc import Sequence

from saint import records
from saint.grafts import Graft
from saint.records import Candidate, Outcome, Verdict
from saint.registry import Entry, State

_TURN = "turn"


def wait_for(winner: Graft, *, again: bool) -> Verdict:
    """What is said of a graft that passed beside a better one.

    Args:
        again: Whether it is to be judged again in this round, on top of the winner.
    """
    coming = "measured again on top of it in this round" if again else "trained again on top of it"
    reason = (
        f"{winner.digest[:12]} gained more on development text and passed; grafts trained apart do not add up, so "
        f"this one is to be {coming}"
    )
    return Verdict(gate=_TURN, outcome=Outcome.DEFER, reason=reason)


def was_refused(entry: Entry) -> bool:
    """By a gate, not only by its turn."""
    return any(verdict.outcome is not Outcome.ACCEPT and verdict.gate != _TURN for verdict in entry.decision.verdicts)


def _only_waits(entry: Entry) -> bool:
    """Whether it was told that its turn comes later, and no gate was asked."""
    return [verdict.gate for verdict in entry.decision.verdicts] == [_TURN]


def told_to_wait(state: State, number: int) -> set[str]:
    """The grafts of round `number` that are told already to wait for one to stand on what stands now."""
    entries = judged_in(state, number)
    return {one.digest for one in entries if _only_waits(one) and one.evidence.stack == tuple(state.standing)}


def judged_in(state: State, number: int) -> list[Entry]:
    """What was judged in round `number` so far, oldest first."""
    return [entry for entry in state.judged if entry.round == number]


def num_accepted(entries: Sequence[Entry]) -> int:
    """How many came to stand, by a decision or by approval, those that were rolled back since included."""
    return sum(entry.status in ("stands", "rolled back") for entry in entries)


def has_turn(candidate: Candidate, entries: Sequence[Entry], standing: Sequence[str]) -> bool:
    """Whether the gates are to be asked about `candidate` on the stack that stands now.

    Once in every stack of the round: on the first as a finalist, later as one that had only to wait its turn.

    Args:
        entries: What was judged in this round so far, oldest first.
    """
    own = [entry for entry in entries if records.digest(entry.candidate) == records.digest(candidate)]
    if any(entry.evidence.stack == tuple(standing) and not _only_waits(entry) for entry in own):
        return False  # one that waits on this very stack does so for a winner whose entry was never written
    if not num_accepted(entries):
        return True
    return bool(own) and own[-1].decision.outcome is not Outcome.ACCEPT and not was_refused(own[-1])
