"""Judging again what stands on something else than it was accepted on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from saint.composition import restore
from saint.data import Splits
from saint.errors import HoldOutError, UnknownNameError
from saint.evaluation import Losses, Sealed, SuiteValues
from saint.growth._journal import Journal
from saint.growth._judging import measure
from saint.growth._plan import Plan
from saint.judging import judge, policy_of
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.records import Decision, Outcome
from saint.registry import Entry, Registry


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What judging one graft again came to."""

    graft: str
    outcome: Outcome | None
    """Accept: it is validated. Reject: it was taken out. Defer, or None where sealed text may not be asked any more:
    it stays, unvalidated."""
    query: int | None = None
    """The number of the query that it took; None for none."""
    reason: str = ""
    """Why it was not accepted."""


def rejudge(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    *,
    grafts: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Again]:
    """Judge the grafts again that stand unvalidated, the oldest first, by the policy that is in force.

    Each is measured on the whole stack as it stands, with it and without it, and takes a query to sealed text where
    development text does not settle it. What is rejected is taken out; that leaves what stands above it unvalidated,
    whose turn comes next. What was judged again on this very stack already keeps its answer, and is not asked again.

    Args:
        grafts: Only these, by the start of their digests.

    Raises:
        UnknownNameError: A named graft does not stand unvalidated.
        BusyError: Another process is at work on this registry.
        ConfigError: The registry has no policy.
    """
    journal = Journal(registry, base, data, plan, progress or Silent())
    policy_of(journal.state)
    with registry.alone():
        return judge_again(journal, [_unvalidated(registry, digest) for digest in grafts])


def judge_again(journal: Journal, wanted: Collection[str] = ()) -> list[Again]:
    """The same for whoever holds the registry already."""
    losses, values = _losses(journal), SuiteValues(journal.data.tokenizer)
    found: dict[str, Again] = {}
    while (entry := _next(journal.registry, wanted, found)) is not None:
        found[entry.digest] = again = _judge_one(journal, losses, values, entry)
        journal.progress.note(f"{entry.digest[:12]} was judged again: {again.outcome or again.reason}")
    return list(found.values())


def _losses(journal: Journal) -> Losses:
    """Without a store: what sealed documents cost is kept in blobs alone."""
    return Losses(seq_len=journal.plan.evaluation_seq_len, progress=journal.progress)


def _unvalidated(registry: Registry, digest: str) -> str:
    entry = registry.entry(digest)
    if entry.status != "stands" or not entry.unvalidated:
        now = "stands on what it was judged on" if entry.status == "stands" else f"is {entry.status}"
        raise UnknownNameError(
            f"graft {entry.digest[:12]} {now}, so it is not judged again; `saint status` lists what is unvalidated"
        )
    return entry.digest


def _next(registry: Registry, wanted: Collection[str], done: Collection[str]) -> Entry | None:
    due = (entry for entry in registry.accepted() if entry.unvalidated and entry.digest not in done)
    return next((entry for entry in due if not wanted or entry.digest in wanted), None)


def _judge_one(journal: Journal, losses: Losses, values: SuiteValues, entry: Entry) -> Again:
    try:
        decision = _known(journal, entry) or _decided(journal, losses, values, entry)
    except HoldOutError as error:
        return Again(graft=entry.digest, outcome=None, reason=str(error))
    against = (one for one in decision.verdicts if one.outcome is not Outcome.ACCEPT)
    reason = "; ".join(f"{one.gate}: {one.reason}" for one in against)
    if decision.outcome is Outcome.REJECT:
        why = f"judged again after something below it was taken out, and rejected: {reason}"
        journal.registry.take_out(entry.digest, reason=why)
    query = decision.query.number if decision.query else None
    return Again(graft=entry.digest, outcome=decision.outcome, query=query, reason=reason)


def _known(journal: Journal, entry: Entry) -> Decision | None:
    """What was decided about it on this very stack by this very policy, if a process died over what follows from it.

    Also after a process that came to its end: the same text, asked again, can only say the same at a higher price.
    """
    state, again = journal.state, entry.rejudged
    others = tuple(digest for digest in state.standing if digest != entry.digest)
    if again is None or again.evidence.stack != others or again.number < state.policy["number"]:
        return None
    return again.decision


def _decided(journal: Journal, losses: Losses, values: SuiteValues, entry: Entry) -> Decision:
    """Measure it where it stands, decide, and write that down."""
    registry = journal.registry
    stack = restore(registry)
    place = [graft.digest for graft in stack].index(entry.digest)
    graft, others = stack[place], [*stack[:place], *stack[place + 1 :]]
    evidence = measure(journal, losses, values, others, graft, composed=stack)
    sealed = Sealed(journal.base, others, stack, journal.data, losses=losses, values=values)
    decision = judge(registry, evidence, sealed, rejudges=True)
    registry.rejudge(evidence, decision)
    return decision
