"""Training grafts that are there already further, and the entries that say which are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from saint.candidates import train_flops
from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._training import train_trials
from saint.growth._trial import Trial
from saint.records import Candidate
from saint.training import Schedule


def go_on(
    journal: Journal, stack: Sequence[Graft], start: Graft, candidate: Candidate, schedule: Schedule
) -> Graft | None:
    """Train further, on text in another order than what it is made of has learnt from."""
    candidate = replace(candidate, seed=candidate.seed + 1)
    trial = Trial(candidate=candidate, stack=stack, schedule=replace(schedule, fade_in=0.0), start=start)
    [graft] = train_trials(journal, stack, [trial])
    return graft


def schedule_for(journal: Journal, number: int, num_steps: int) -> Schedule:
    """The schedule of a round with another number of steps."""
    return replace(journal.settings.schedule(number), num_steps=num_steps)


def cannot_pay(journal: Journal, planned: Sequence[tuple[Candidate, Schedule]], *, besides: int = 0) -> str:
    """Why what is left of the budget does not train all of these; "" if it does.

    Args:
        besides: Tokens that they are shown before they learn.
    """
    if reason := journal.settings.out_of_time():
        return reason
    left, sites = journal.settings.budget_left(), journal.base.sites()
    num_tokens = besides + sum(schedule.num_tokens for _, schedule in planned)
    if num_tokens > left.train_tokens:
        return f"it learns from {num_tokens:,} tokens, and the budget has {max(0, left.train_tokens):,} left"
    flops = sum(
        train_flops(candidate, sites, num_tokens=schedule.num_tokens, seq_len=schedule.seq_len)
        for candidate, schedule in planned
    )
    if left.train_flops is not None and flops > left.train_flops:
        return f"training it takes {flops:.3g} operations, and the budget has {max(0.0, left.train_flops):.3g} left"
    return ""


def opened_as(journal: Journal, number: int, way: str) -> Mapping[str, Any] | None:
    """What an earlier run has decided for this round."""
    return journal.state.sets.get((number, way))


def open_as(journal: Journal, number: int, way: str, why_not: str, what: Mapping[str, Any]) -> Mapping[str, Any]:
    """Decide, in the ledger."""
    body = {"round": number, "way": way, "left_out": why_not, **what}
    journal.registry.write("set_opened", body)
    if why_not:
        journal.progress.note(f"{way} is left out of round {number + 1}: {why_not}")
    return journal.state.sets[number, way]
