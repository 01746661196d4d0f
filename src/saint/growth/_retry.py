"""A graft that sealed text did not show enough of comes back, trained further, a limited number of times."""

from collections.abc import Sequence

from saint import config, records
from saint.grafts import Graft
from saint.growth._further import cannot_pay, go_on, open_as, opened_as, schedule_for
from saint.growth._journal import Journal
from saint.judging import idea_of, num_asked, policy_of
from saint.records import Candidate, Outcome
from saint.registry import Entry, State

_WAY = "retry"


def retry(journal: Journal, number: int, stack: Sequence[Graft]) -> list[Graft | None]:
    """Train what was deferred by sealed text on this very stack further, as far as an earlier run has not.

    On another stack the candidate is proposed and trained anew. Either way its next question is a query of its own, and
    the policy says how many an idea may have.

    Returns:
        More finalists; None for one that came to nothing.
    """
    if not journal.plan.retry_steps:
        return []
    schedule = schedule_for(journal, number, journal.plan.retry_steps)
    opened = opened_as(journal, number, _WAY)
    if opened is None:
        due = _due(journal.state, [graft.digest for graft in stack])[
            : journal.settings.stage(number).finalists_per_round
        ]
        if not due:
            return []
        why_not = cannot_pay(journal, [(_candidate(journal, trial), schedule) for trial in due])
        opened = open_as(journal, number, _WAY, why_not, {"members": due})
    if opened["left_out"]:
        return []
    starts = [journal.as_trained(journal.state.trained[trial]) for trial in opened["members"]]
    return [go_on(journal, stack, start, start.candidate, schedule) for start in starts]


def _candidate(journal: Journal, trial: str) -> Candidate:
    return config.build(journal.state.trained[trial]["candidate"], Candidate, where="trained")


def _due(state: State, standing: Sequence[str]) -> list[str]:
    """The trial of each idea that has a retry left, of what gained most on development text first."""
    latest = {idea_of(entry.evidence, state.submitted): entry for entry in state.judged}
    allowed = policy_of(state).judging.at_most_retries
    due = [
        entry
        for idea, entry in latest.items()
        if entry.decision.query is not None
        and entry.decision.outcome is Outcome.DEFER
        and not entry.decision.passed
        and entry.evidence.stack == tuple(standing)
        and num_asked(state, idea) <= allowed
    ]
    ranked = sorted(due, key=lambda entry: -entry.evidence.gain_bpb.estimate)
    return [trial for entry in ranked if (trial := _trial_of(state, entry)) is not None]


def _trial_of(state: State, entry: Entry) -> str | None:
    """The trial that a graft came from; None for one that was trained elsewhere, or on another stack."""
    wanted, stack = records.digest(entry.candidate), list(entry.evidence.stack)
    for name, trial in state.trained.items():
        if trial["graft"] and trial["stack"] == stack and records.digest(trial["candidate"]) == wanted:
            return name
    return None
