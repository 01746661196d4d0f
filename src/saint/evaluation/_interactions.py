"""What a graft and each one that stands do together, beyond what each does alone."""

from collections.abc import Mapping, Sequence

from saint.composition import principal_angles
from saint.data import Corpus
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Interaction, Interval
from saint.statistics import paired_interval


def interactions(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    split: Mapping[str, Corpus],
    *,
    losses: Losses | None = None,
    at_most: int | None = None,
) -> tuple[Interaction, ...]:
    """With each graft g that stands: what `graft` saves on the stack, less what it saves on the stack without g.

    With v(S) what base and stack S save, that is v(S + c) - v(S) - (v(S - g + c) - v(S - g)) for a graft c, document by
    document, all four on the same ones. 0 where the two add up; negative where one hinders the other, be it that both
    have learnt the same or that together they do harm that neither does alone.

    Each one that stands takes a pass over the text with `graft`, and one without it the first time that `losses` is
    asked. **Where more than `at_most` stand, only so many are held against: those first that share a site with it, then
    the latest;** a gate that limits what grafts gain together then defers, for a harmful one may be among the rest.

    Args:
        split: Domain -> development text, for what the gates judge on must not be looked at more than it is.
        losses: Remembers what was measured.
        at_most: How many are held against; None for all.

    Raises:
        DataError: A corpus has too few documents for an interval.

    Source:
        The second-order difference of Grabisch and Roubens 1999, doi:10.1007/s001820050125, at the whole stack.
    """
    losses = losses or Losses()
    return tuple(
        Interaction(
            graft=other.digest,
            gain_bpb={
                domain: _beyond_the_sum(base, stack, graft, other, corpus, losses) for domain, corpus in split.items()
            },
            angle=_largest_cosine(other, graft),
        )
        for other in _held_against(stack, graft, at_most)
    )


def _held_against(stack: Sequence[Graft], graft: Graft, at_most: int | None) -> Sequence[Graft]:
    """In the order of the stack."""
    if at_most is None or len(stack) <= at_most:
        return stack
    sites = {site.key for site in graft.candidate.sites}
    ranked = sorted(range(len(stack)), key=lambda place: (sites.isdisjoint(stack[place].parts), -place))
    return [stack[place] for place in sorted(ranked[:at_most])]


def _beyond_the_sum(
    base: FrozenBase, stack: Sequence[Graft], graft: Graft, other: Graft, corpus: Corpus, losses: Losses
) -> Interval:
    rest = [one for one in stack if one is not other]
    on_all = losses.of(base, stack, corpus) - losses.of(base, [*stack, graft], corpus)
    on_rest = losses.of(base, rest, corpus) - losses.of(base, [*rest, graft], corpus)
    return paired_interval(on_all, on_rest, corpus.num_bytes_each)


def _largest_cosine(one: Graft, other: Graft) -> float | None:
    """None where the two share no site that both change by something of low rank."""
    angles = principal_angles([one], other).values()
    if not angles:
        return None
    return max((cosine for there in angles for cosine in (*there.inputs, *there.outputs)), default=0.0)
