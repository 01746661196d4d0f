"""Which learning rates an arm tries: one rule and one number of tries for everybody."""

from collections.abc import Mapping
from math import inf, log


def rates_to_try(centre: float, num_tries: int, tried: Mapping[float, float | None]) -> list[float]:
    """The next learning rates to try, those that may be tried at once together; none when the tries are spent.

    First the centre, three times it and a third of it. Then one at a time: beyond the winner by a factor of three
    when it is the highest or lowest so far, otherwise into the wider of the gaps beside it, in the middle of its
    logarithms (a factor of sqrt(3) at first); of equal gaps, on the side of the better neighbour.

    Args:
        num_tries: How many rates are tried in all.
        tried: Rate -> bits per byte on *select*, None for a run that diverged.
    """
    first = [_rate(centre, exponent) for exponent in (0.0, 1.0, -1.0)][:num_tries]
    if missing := [rate for rate in first if rate not in tried]:
        return missing
    if len(tried) >= num_tries:
        return []
    scores = {round(log(rate / centre, 3), 4): inf if bpb is None else bpb for rate, bpb in tried.items()}
    return [_rate(centre, _next(scores))]


def best_rate(tried: Mapping[float, float | None]) -> float | None:
    """The rate with the fewest bits per byte; None when every run diverged."""
    finite = {rate: bpb for rate, bpb in tried.items() if bpb is not None}
    return min(finite, key=lambda rate: (finite[rate], rate), default=None)


def at_the_edge(tried: Mapping[float, float | None]) -> bool:
    """Whether the best rate is the highest or the lowest that was tried, so that a better one may lie beyond."""
    return best_rate(tried) in (min(tried), max(tried))


def _next(scores: Mapping[float, float]) -> float:
    """The next exponent of three, from exponent -> bits per byte."""
    ordered = sorted(scores)
    best = min(ordered, key=lambda exponent: (scores[exponent], exponent))
    place = ordered.index(best)
    if scores[best] == inf or place == 0:
        return ordered[0] - 1
    if place == len(ordered) - 1:
        return best + 1
    below, above = ordered[place - 1], ordered[place + 1]
    gaps = (best - below, above - best)
    downwards = gaps[0] > gaps[1] if abs(gaps[0] - gaps[1]) > 1e-3 else scores[below] < scores[above]
    return (best + below) / 2 if downwards else (best + above) / 2


def _rate(centre: float, exponent: float) -> float:
    return float(f"{centre * 3.0**exponent:.6g}")
