"""How much of a trained change to keep."""

from collections.abc import Callable, Mapping, Sequence
from math import inf

from saint.data import Corpus
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Interval, Spread


def choose_strength(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    *,
    grown: Corpus,
    retained: Mapping[str, Corpus],
    at_most_bpb: Mapping[str, float],
    margins: Mapping[str, float] | None = None,
    strengths: Sequence[float],
    losses: Losses | None = None,
) -> float:
    """Set the graft to the strength that gains most on development text without forgetting too much.

    A change at part of its trained strength keeps most of its gain, while what it costs elsewhere falls, to second
    order, with the square of that part. When no strength keeps the limit the lowest is set, and the gates will say so.

    Args:
        grown: Development text of the domain that is grown towards.
        retained: Development text of the domains that must be kept.
        at_most_bpb: How much each of these may lose against the bare base, by its upper confidence bound; one that is
            not named may lose anything.
        margins: By how many standard deviations of its documents each of these must keep its limit besides, so that
            sealed text can show it.
        strengths: What may be chosen, as shares of the strength that the graft was trained at.

    Returns:
        Bits per byte that the graft saves on `grown` at that strength, against the present stack.

    Source:
        Interpolating between base and tuned weights: Wortsman et al. 2022, arXiv:2109.01903.
    """
    measured = losses or Losses()
    full = graft.history.strength if graft.history is not None else 1.0

    def gain_of(strength: float) -> float:
        graft.set_strength(full * strength)
        return measured.saved(base, stack, [*stack, graft], grown).estimate

    def excess_of(strength: float) -> float:
        graft.set_strength(full * strength)
        after = [*stack, graft]
        return worst_excess(
            {
                name: (measured.saved(base, (), after, corpus), measured.spread(base, (), after, corpus))
                for name, corpus in retained.items()
            },
            at_most_bpb,
            margins or {},
        )

    return gain_of(search_strength(gain_of, excess_of, strengths, 0.0))


def worst_excess(
    saved: Mapping[str, tuple[Interval, Spread]], at_most_bpb: Mapping[str, float], margins: Mapping[str, float]
) -> float:
    """By how much the worst of some suites loses more than it may; 0 or less where all keep their limits.

    Args:
        saved: Suite -> what it saves against the bare base, over all documents and by document.
        at_most_bpb: Suite -> what it may lose.
        margins: Suite -> by how many deviations of its documents it must keep that.
    """
    excess = [
        max(-interval.low, margins.get(name, 0.0) * spread.deviation - spread.mean) - at_most_bpb[name]
        for name, (interval, spread) in saved.items()
        if name in at_most_bpb
    ]
    return max(excess, default=-inf)


def search_strength(
    gain_of: Callable[[float], float],
    loss_of: Callable[[float], float],
    strengths: Sequence[float],
    at_most_bpb: float | None,
) -> float:
    """The strength of the most gain whose loss is allowed; the lowest when none is.

    The strongest that is allowed is found by bisection, since along the way from the base to the trained change the
    loss on what the base knew rises; from there weaker ones are tried while they gain more.
    """
    ladder = sorted(strengths)
    allowed, refused = -1, len(ladder)
    first = len(ladder) - 1  # the whole change is often allowed, and then nothing else need be measured
    while refused - allowed > 1:
        middle = first if refused == len(ladder) else (allowed + refused) // 2
        if at_most_bpb is None or loss_of(ladder[middle]) <= at_most_bpb:
            allowed = middle
        else:
            refused = middle
    best = max(allowed, 0)
    gain = gain_of(ladder[best]) if best else 0.0
    while best and (weaker := gain_of(ladder[best - 1])) > gain:
        best, gain = best - 1, weaker
    return ladder[best]
