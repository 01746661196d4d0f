"""Which stage of the plan a round belongs to, as the ledger's rounds say."""

from typing import Any

from saint.growth._plan import Plan
from saint.registry import State


def stage_of(plan: Plan, state: State, number: int) -> int:
    """The stage of round `number`, or of the round to come if it was not opened yet."""
    if number in state.rounds:
        return int(state.rounds[number].get("stage", 0))  # rounds from before there were stages do not name theirs
    coming = next_stage(plan, state)
    assert coming is not None, "a round is begun only while a stage has some left"
    return coming


def next_stage(plan: Plan, state: State) -> int | None:
    """The first stage that is neither done, nor skipped, nor out of ideas; None when there is none.

    A stage that was skipped and resumed has its turn again, also after later ones. A round that was abandoned, because
    what it grew on was rolled back, does not count as done.
    """
    for index, stage in enumerate(plan.in_full):
        own = _rounds_of(state, index)
        num_done = sum(one["closed"] and not one["abandoned"] for one in own.values())
        out_of_ideas = bool(own) and not own[max(own)]["candidates"]
        if index not in state.skipped and num_done < stage.rounds and not out_of_ideas:
            return index
    return None


def share_of_allowance(plan: Plan, state: State, number: int, of_round: float) -> float:
    """How much of what may be forgotten in all a round may use up: equal parts for all rounds of all stages.

    Args:
        of_round: The part of its own share that the round may use up now.
    """
    index, stages = stage_of(plan, state, number), plan.in_full
    before = sum(stage.rounds for stage in stages[:index])
    own = sum(other < number for other in _rounds_of(state, index))
    return min(1.0, (before + own + of_round) / sum(stage.rounds for stage in stages))


def _rounds_of(state: State, index: int) -> dict[int, dict[str, Any]]:
    return {number: one for number, one in state.rounds.items() if one.get("stage", 0) == index}
