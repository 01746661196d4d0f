"""How much of a trained change to keep."""

from collections.abc import Callable, Mapping, Sequence

from saint.data import Corpus
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase


def choose_strength(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    *,
    grown: Corpus,
    retained: Mapping[str, Corpus],
    at_most_bpb: float | None,
    strengths: Sequence[float],
    losses: Losses | None = None,
) -> float:
    """Set the graft to the strength that gains most on development text without forgetting too much.

    A change at part of its trained strength keeps most of its gain, while what it costs elsewhere falls, to second
    order, with the square of that part. When no strength keeps the limit the lowest is set, and the gates will say so.

    Args:
        grown: Development text of the domain that is grown towards.
        retained: Development text of the domains that must be kept.
        at_most_bpb: How much each of these may lose against the bare base, by its upper confidence bound; None for
            no limit.
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

    def loss_of(strength: float) -> float:
        graft.set_strength(full * strength)
        lost = (-measured.saved(base, (), [*stack, graft], corpus).low for corpus in retained.values())
        return max(lost, default=0.0)

    return gain_of(search_strength(gain_of, loss_of, strengths, at_most_bpb))


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
