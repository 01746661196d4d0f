"""A graft that was not trained here, judged like any that was."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from saint.composition import restore, weight_change
from saint.errors import AdapterError, LedgerError
from saint.evaluation import Losses, Sealed, SuiteValues, choose_strength
from saint.grafts import Graft
from saint.growth._alone import in_turn
from saint.growth._journal import Journal
from saint.growth._judging import measure
from saint.judging import judge
from saint.models import FrozenBase
from saint.registry import Entry, State


def judge_from_elsewhere(
    journal: Journal,
    graft: Graft,
    came: Mapping[str, Any],
    *,
    choose: bool = False,
    contents: Sequence[bytes] = (),
) -> Entry:
    """Judge a graft by the gates in force on the present stack; it stands if they accept it.

    Where it came from is in the ledger before the gates' text is looked at. It was not trained here, so its cost has
    no tokens.

    Args:
        came: Where from, for the ledger; `folder` is the place as people call it.
        choose: Choose on *select* how much of its change to keep.
        contents: What else the ledger is to keep of where it came from.

    Returns:
        The judgement.

    Raises:
        LedgerError: It stands already.
        HoldOutError: Sealed text may not be asked any more.
    """
    base, data, registry = journal.base, journal.data, journal.registry
    losses = Losses(seq_len=journal.plan.evaluation_seq_len, progress=journal.progress)
    values = SuiteValues(data.tokenizer)
    with in_turn(registry, journal.progress):
        journal.have_policy()
        journal.be_ready_to_judge()
        stack = restore(registry)
        if choose:
            choose_strength(base, stack, graft, losses=losses, **journal.settings.strength(None))
        if graft.digest in journal.state.standing:
            raise LedgerError(f"{came['folder']} is graft {graft.digest[:12]}, which stands already")
        body = {"graft": graft.digest, **came, "strength": round(graft.strength, 6)}
        registry.write("submitted", body, contents=contents)
        evidence = measure(journal, losses, values, stack, graft)
        sealed = Sealed(base, stack, [*stack, graft], data, losses=losses, values=values)
        journal.record(None, graft, evidence, judge(registry, evidence, sealed))
    return registry.entry(graft.digest)


def must_not_be_in_quarantine(state: State, grafts: Sequence[str], *, what: str) -> None:
    """Refuse a graft that is in quarantine, and what was made from one, before sealed text is asked about it.

    Args:
        grafts: The graft, and what it was made from.
        what: What it is called, for messages.

    Raises:
        AdapterError: One of them is.
    """
    for digest in grafts:
        if (reason := state.quarantined.get(digest)) is not None:
            raise AdapterError(
                f"{what} is, or was exported from, graft {digest[:12]}, which is in quarantine ({reason}); submit "
                "something else"
            )


def check_change(base: FrozenBase, graft: Graft, *, at_most: float, what: str) -> None:
    """Refuse a graft that leaves little of a weight.

    Args:
        at_most: The Frobenius norm of its change of a weight over the weight's own.
        what: What the graft is called, for messages.

    Raises:
        AdapterError: It changes a weight by more.
    """
    for site in graft.candidate.sites:
        if (change := weight_change(base, (), graft, site)) is None:
            continue
        size, weight = float(change.values.double().norm()), sqrt(change.weight_energy)
        if size > at_most * weight:
            raise AdapterError(
                f"{what} changes the weight of {site.module} by a norm of {size:.4g}, expected at most "
                f"{at_most:g} times the weight's own, {weight:.4g}; submit it with a larger --at-most-change if that "
                "is meant"
            )
