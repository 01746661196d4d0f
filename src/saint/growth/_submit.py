"""An adapter that was trained elsewhere, judged like any candidate."""

from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import final

from saint.adapters import check_origin, read_adapter, to_graft
from saint.composition import restore, weight_change
from saint.data import Splits
from saint.errors import AdapterError, LedgerError
from saint.evaluation import Losses, Sealed, SuiteValues, choose_strength
from saint.grafts import Graft
from saint.growth._alone import in_turn
from saint.growth._journal import Journal
from saint.growth._judging import measure
from saint.growth._plan import Plan
from saint.judging import judge
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.registry import Entry, Registry
from saint.weights import Caps


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A PEFT adapter that is to be judged, and what is said about it."""

    folder: Path
    name: str = ""
    """What people call it."""
    reason: str = ""
    """Why it is submitted."""
    same_base: bool = False
    """Somebody vouches that it was trained on the registry's base, though it names another."""
    choose_strength: bool = False
    """Choose on *select* how much of its change to keep, as for a graft that was grown; else all of it is judged."""
    at_most_change: float = 10.0
    """The Frobenius norm of its change of a weight over the weight's own, at each site; what is no change of a weight
    keeps any limit. Trained adapters are far below 1; one above 10 leaves nothing of what was frozen. It is refused
    before it is composed, where the gate `interpretability` (`at_most_energy`) judges all sites together."""
    caps: Caps = field(default_factory=Caps)
    """The most that its file may be or hold."""


def submit(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    submission: Submission,
    *,
    progress: Progress | None = None,
) -> Entry:
    """Judge an adapter by the plan's gates on the present stack; it stands if they accept it.

    Where it came from is in the ledger before the gates' text is looked at. It was not trained here, so its cost has
    no tokens.

    Returns:
        The judgement.

    Raises:
        AdapterError: It cannot be read, says what no graft can, changes too much, or is for another base; nothing was
            recorded.
        LedgerError: It stands already.
        HoldOutError: Sealed text may not be asked any more.
    """
    progress = progress or Silent()
    adapter = read_adapter(submission.folder, caps=submission.caps)
    ground = check_origin(base, adapter, same_base=submission.same_base)
    graft = to_graft(base, adapter)
    _check_change(base, graft, submission)
    journal = Journal(registry, base, data, plan, progress)
    losses, values = Losses(seq_len=plan.evaluation_seq_len, progress=progress), SuiteValues(data.tokenizer)
    with in_turn(registry, progress):
        journal.have_policy()
        journal.be_ready_to_judge()
        stack = restore(registry)
        if submission.choose_strength:
            choose_strength(base, stack, graft, losses=losses, **journal.settings.strength(None))
        if graft.digest in journal.state.standing:
            raise LedgerError(f"{submission.folder} is graft {graft.digest[:12]}, which stands already")
        body = {
            "graft": graft.digest,
            "name": submission.name,
            "reason": submission.reason,
            "folder": str(submission.folder),
            "files": adapter.files,
            "config": adapter.config,
            "same_base": ground,
            "strength": round(graft.strength, 6),
        }
        registry.write("submitted", body)
        evidence = measure(journal, losses, values, stack, graft)
        sealed = Sealed(base, stack, [*stack, graft], data, losses=losses, values=values)
        journal.record(None, graft, evidence, judge(registry, evidence, sealed))
    return registry.entry(graft.digest)


def _check_change(base: FrozenBase, graft: Graft, submission: Submission) -> None:
    for site in graft.candidate.sites:
        if (change := weight_change(base, (), graft, site)) is None:
            continue
        size, weight = float(change.values.double().norm()), sqrt(change.weight_energy)
        if size > submission.at_most_change * weight:
            raise AdapterError(
                f"{submission.folder} changes the weight of {site.module} by a norm of {size:.4g}, expected at most "
                f"{submission.at_most_change:g} times the weight's own, {weight:.4g}; submit it with a larger "
                "--at-most-change if that is meant"
            )
