"""Finalists before the gates: weighed on development text, then asked about one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from saint.composition import restore
from saint.evaluation import (
    Losses,
    Sealed,
    SuiteValues,
    canary_p_value,
    choose_strength,
    evaluate,
    footprint,
    interactions,
    measure_safety,
)
from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._turns import told_to_wait, wait_for
from saint.judging import judge, policy_of
from saint.records import Decision, Evidence, Outcome


class Weighed(NamedTuple):
    """A finalist at the strength that was chosen for it, with what development text says."""

    gain_bpb: float
    graft: Graft
    evidence: Evidence


def weigh(
    journal: Journal, losses: Losses, values: SuiteValues, number: int, finalists: Sequence[Graft]
) -> list[Weighed]:
    """Choose a strength for each finalist and measure it on development text; the one that gains most comes first."""
    base, stack = journal.base, restore(journal.registry)
    losses.expect(base, stack, finalists)
    weighed = []
    for graft in finalists:
        gain = choose_strength(base, stack, graft, losses=losses, **journal.settings.strength(number))
        weighed.append(Weighed(gain, graft, measure(journal, losses, values, stack, graft)))
    return sorted(weighed, key=lambda one: -one.gain_bpb)


def measure(
    journal: Journal,
    losses: Losses,
    values: SuiteValues,
    stack: Sequence[Graft],
    graft: Graft,
    *,
    composed: Sequence[Graft] | None = None,
) -> Evidence:
    """All that development text says of a graft on a stack.

    What it does together with each graft that stands takes a pass over the text for each of them, so that is measured
    where the policy asks for it.

    Args:
        composed: The stack with the graft where it stands in it; with the graft on top if left out. What is gained and
            lost is measured of that; its footprint, and what it does together with others, as if it were on top.
    """
    base, data = journal.base, journal.data
    text, suites = data.select, data.suites_of("select")
    evidence = evaluate(base, stack, graft, text, grown=data.grown_domain, composed=composed, losses=losses)
    safety = measure_safety(base, stack, graft, suites, composed=composed, values=values)
    together = None
    if "conflict" in policy_of(journal.state).gates:
        together = interactions(base, stack, graft, text, losses=losses)
    return replace(
        evidence,
        documents={**evidence.documents, **{name: part.digest for name, part in suites.items()}},
        footprint=footprint(base, stack, graft, text, losses=losses, tokenizer=data.tokenizer),
        interactions=together,
        canary_p=canary_p_value(base, stack, graft, data, losses=losses),
        safety=safety.measures,
        unmeasured=safety.unmeasured,
    )


def judge_in_turn(
    journal: Journal, losses: Losses, values: SuiteValues, number: int, weighed: Sequence[Weighed]
) -> None:
    """Ask about one finalist after the other until one comes to stand; those after it wait.

    Grafts that were trained apart do not add up, so a second one that passed would have to be measured on the first
    anyway: asking sealed text about it before would be a query for nothing, and every query costs strength of evidence.
    The one that stands is written last, so that all are written on the stack that they were measured on; where a
    process died before it was, what it wrote of those after it is there already.
    """
    stack, told = restore(journal.registry), told_to_wait(journal.state, number)
    for place, (_, graft, evidence) in enumerate(weighed):
        sealed = Sealed(journal.base, stack, [*stack, graft], journal.data, losses=losses, values=values)
        decision = judge(journal.registry, evidence, sealed)
        if decision.outcome is not Outcome.ACCEPT:
            journal.record(number, graft, evidence, decision)
            continue
        waits = Decision(verdicts=(wait_for(graft, again=journal.more_may_stand(number)),))
        for _, other, found in weighed[place + 1 :]:
            if other.digest not in told:
                journal.record(number, other, found, waits)
        journal.record(number, graft, evidence, decision)
        return
