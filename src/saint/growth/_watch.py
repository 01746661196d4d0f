"""What is done when a model that was accepted graft by graft turns out worse on some text than it should be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from saint.composition import restore
from saint.data import Corpus, Splits
from saint.evaluation import Losses, LossStore, attribute, negated
from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._plan import Plan
from saint.growth._rejudge import judge_again
from saint.judging import policy_of
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.records import Interval, Outcome, Share
from saint.registry import Registry


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What watching one suite came to."""

    suite: str
    documents: str
    """Digest of the text."""
    at_most_bpb: float
    lost_before_bpb: Interval
    """What the stack lost there against the bare base, as it was found."""
    lost_after_bpb: Interval
    """The same of what stands now."""
    quarantined: tuple[str, ...]
    """Grafts that were taken out, in this order."""
    rejudged: tuple[tuple[str, Outcome], ...]
    """What was accepted on top of these, and how it was judged again."""

    @property
    def holds(self) -> bool:
        """Whether the suite was as it should be from the first."""
        return self.lost_before_bpb.low <= self.at_most_bpb

    @property
    def is_mended(self) -> bool:
        """Whether it is as it should be now."""
        return self.lost_after_bpb.low <= self.at_most_bpb


def watch(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    text: Corpus,
    *,
    suite: str,
    at_most_bpb: float,
    progress: Progress | None = None,
) -> Watched:
    """Measure the standing stack on a suite; where it surely loses too much, take out the grafts that are to blame.

    The graft with the lowest Shapley value there is quarantined and rolled back, if its whole interval is a loss; then
    the next, until the suite holds. Whatever stands unvalidated, because something below it was taken out, now or
    earlier, is judged again, each time with a query to sealed text: it stays if it passes, is rolled back if it is
    rejected, and otherwise stays unvalidated. Each quarantined candidate is queued to be grown again, with another
    seed. A run that was killed is finished by the next.

    Args:
        text: Documents of the suite: development text, or new ones. Not sealed text.
        at_most_bpb: What the stack may lose there against the bare base; more is surely lost when the whole interval
            lies beyond.

    Raises:
        DataError: The text has too few documents for an interval.
        BusyError: Another process is at work on this registry.
    """
    progress = progress or Silent()
    journal = Journal(registry, base, data, plan, progress)
    policy_of(journal.state)  # what is taken out may have to be judged again, so there has to be something to judge by
    losses = Losses(seq_len=plan.evaluation_seq_len, store=LossStore(registry.work / "losses", progress=progress))
    out: list[str] = []
    with registry.alone():
        _finish(registry)
        before = after = _lost(base, restore(registry), text, losses)
        while after.low > at_most_bpb and (share := _to_blame(base, restore(registry), text, losses)) is not None:
            _take_out(registry, share, suite)
            progress.note(
                f"{share.graft[:12]} is quarantined: it costs {suite} {-share.shapley.estimate:.4f} bits per byte"
            )
            out.append(share.graft)
            after = _lost(base, restore(registry), text, losses)
        again = judge_again(journal)
        if again:
            after = _lost(base, restore(registry), text, losses)
    return Watched(
        suite=suite,
        documents=text.digest,
        at_most_bpb=at_most_bpb,
        lost_before_bpb=before,
        lost_after_bpb=after,
        quarantined=tuple(out),
        rejudged=tuple((one.graft, one.outcome) for one in again if one.outcome is not None),
    )


def _lost(base: FrozenBase, stack: Sequence[Graft], text: Corpus, losses: Losses) -> Interval:
    return negated(losses.saved(base, (), stack, text))


def _to_blame(base: FrozenBase, stack: Sequence[Graft], text: Corpus, losses: Losses) -> Share | None:
    """The graft that harms the text most; None where none is shown to."""
    if not stack:
        return None
    worst = attribute(base, stack, {"": text}, losses=losses, num_shown=0).suites[""].worst
    return worst if worst is not None and worst.shapley.high < 0 else None


def _take_out(registry: Registry, share: Share, suite: str) -> None:
    """Quarantine a graft; the rest follows from that entry, also in a later run if this one is killed."""
    reason = f"{suite} regressed, and this graft is to blame"
    body = {"graft": share.graft, "suite": suite, "shapley_bpb": share.shapley, "reason": reason}
    registry.write("quarantined", body)
    _finish(registry)


def _finish(registry: Registry) -> None:
    """Queue the candidates of quarantined grafts that stand, with another seed, and roll the grafts back."""
    state = registry.state
    for entry in registry.accepted():
        if (reason := state.quarantined.get(entry.digest)) is None:
            continue
        if not any(one["graft"] == entry.digest for one in state.to_retrain):
            candidate = replace(entry.candidate, seed=entry.candidate.seed + 1)
            registry.write("retrain_queued", {"graft": entry.digest, "candidate": candidate, "reason": reason})
        registry.take_out(entry.digest, reason=reason)
