"""Whether sealed text shows what a query claims: the one bit."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64

from saint.records import Claim, Query, SuiteLosses
from saint.statistics import log_e_value, log_tail_p_value

_HALF = 0.5  # an item of a rate costs 0 or 1


def is_shown(claim: Claim, losses: SuiteLosses, log_threshold: float) -> bool:
    """Whether the evidence for a claim is as strong as the query's threshold asks, in each of its parts.

    Each part is a test of its own at the full level: all of them must reject what they stand against, so none has to
    be corrected for the others (Berger 1982, Technometrics 24, 295-300). A loss that is no number shows nothing.
    """
    if not np.isfinite([losses.base, losses.before, losses.after]).all():
        return False
    if claim.test == "rate":
        is_one = violations(losses)
        return -log_tail_p_value(int(is_one.sum()), len(is_one), at_most=claim.above) >= log_threshold
    saved = differences(claim, losses)
    if log_e_value(saved, above=claim.above, clip=claim.clip) < log_threshold:
        return False
    num_heavy = int((saved < -claim.clip).sum())
    return claim.at_most_heavy >= 1 or (
        -log_tail_p_value(num_heavy, len(saved), at_most=claim.at_most_heavy) >= log_threshold
    )


def differences(claim: Claim, losses: SuiteLosses) -> Float64[np.ndarray, " documents"]:
    """What each document saves against what the claim compares with; positive is better."""
    saved: Float64[np.ndarray, " documents"] = np.array(
        losses.before if claim.against == "stack" else losses.base
    ) - np.array(losses.after)
    return saved


def violations(losses: SuiteLosses) -> Bool[np.ndarray, " items"]:
    """Which items of a rate the composed model fails."""
    is_one: Bool[np.ndarray, " items"] = np.array(losses.after) >= _HALF
    return is_one


def all_shown(query: Query, losses: Mapping[str, SuiteLosses]) -> bool:
    """Whether every claim of a query is shown, on as many documents as it may look at; what was not measured is not."""
    return bool(query.claims) and all(
        claim.suite in losses
        and _is_whole(losses[claim.suite], query.num_documents[claim.suite])
        and is_shown(claim, losses[claim.suite], query.log_threshold)
        for claim in query.claims
    )


def _is_whole(losses: SuiteLosses, num: int) -> bool:
    return len(losses.base) == len(losses.before) == len(losses.after) == num
