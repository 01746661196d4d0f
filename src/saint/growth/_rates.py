"""Each candidate of a round at several learning rates: trained side by side, and the best on *select* goes on."""

from collections.abc import Sequence
from dataclasses import replace

from saint import records
from saint.grafts import Graft
from saint.records import Candidate
from saint.training import best_try, rate_tries


def tries_of(candidates: Sequence[Candidate], rates: Sequence[float]) -> list[Candidate]:
    """What is trained for them: each at its learning rate times each of `rates`, in a row.

    Args:
        rates: Empty for their own learning rates alone.
    """
    return [one for candidate in candidates for one in rate_tries(candidate, rates or (1.0,))]


def best_of_tries(grafts: Sequence[Graft | None], rates: Sequence[float]) -> list[Graft | None]:
    """What came of each candidate: of its tries, which are in a row, the one that came lowest on *select*.

    Args:
        grafts: What came of each try; None for one that came to nothing.
        rates: The factors that its learning rate was multiplied by.
    """
    if not rates:
        return list(grafts)
    return [_best(grafts[start : start + len(rates)]) for start in range(0, len(grafts), len(rates))]


def _best(grafts: Sequence[Graft | None]) -> Graft | None:
    finished = [graft for graft in grafts if graft is not None]
    best = best_try([graft.candidate for graft in finished], [graft.history for graft in finished])
    return next((graft for graft in finished if graft.candidate is best), None)


def idea_of(candidate: Candidate) -> str:
    """A digest that tries of one candidate have in common."""
    return records.digest(replace(candidate, lr=1.0))
