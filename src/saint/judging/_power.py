"""What sealed text of a given size can show at all."""

from collections.abc import Mapping
from math import inf
from typing import Literal

import numpy as np

from saint.errors import DataError
from saint.judging._holdout import threshold
from saint.judging._policy import Policy
from saint.records import Against, Candidate, Claim, Cost, Evidence, Interval, SafetyMeasure, Spread
from saint.statistics import documents_needed, log_e_value, log_tail_p_value, running_log_tail_e_values

SafetySort = Literal["preference", "prohibited", "violations", "refusals"]

_MOST_DOCUMENTS = 1 << 20
_MOST_EFFECT = 5.0  # deviations: where differences are clipped
_NUM_HALVINGS = 20
_RATES = ("violations", "refusals")


def effect_needed(deviation: float, num_documents: int, log_threshold: float) -> float:
    """How far a mean must lie above what a claim asks, for so many documents to show it four times out of five.

    Args:
        deviation: Standard deviation of the documents' differences.

    Returns:
        In the unit of the deviation; infinite where no effect would do.
    """
    if deviation == 0:
        return 0.0
    clip = _MOST_EFFECT

    def suffices(effect: float) -> bool:
        return documents_needed(effect, 1.0, log_threshold, clip=clip) <= num_documents

    low, high = 0.0, _MOST_EFFECT
    if not suffices(high):
        return inf
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high * deviation


def must_suffice(
    policy: Policy, sizes: Mapping[str, int], *, grown: str, sorts: Mapping[str, SafetySort] | None = None
) -> None:
    """Refuse sealed text on which not even the best graft could pass the first query.

    Args:
        sizes: Suite -> its sealed documents or items.
        grown: The suite that is grown towards.
        sorts: Which of the suites are safety suites, and of what sort.

    Raises:
        UnknownNameError: A gate has a limit for a suite that is not there.
        DataError: A suite has too few documents; the message says how many it takes.
    """
    judging = policy.judging
    level = threshold(judging, 1, 0)
    imagined = _imagined(sizes, grown, sorts or {})
    gates = policy.build()
    for gate in gates:
        gate.must_know(imagined)
    for gate in gates:
        for claim in gate.claims(imagined):
            there = judging.documents_per_query or sizes[claim.suite]
            needed = fewest_documents(claim, level, early=judging.early_stopping)
            if there < needed:
                raise DataError(_too_few(claim, there, needed))


def _too_few(claim: Claim, there: int, needed: int) -> str:
    limit = "at_most_rate or " if claim.test == "rate" else "at_most_heavy or " if claim.at_most_heavy < 1 else ""
    return (
        f"{claim.suite} has {there} sealed documents for a query, and the first one takes {needed} at the very least "
        f"for the gate {claim.gate!r}: give more text, cut it into more documents, or set a larger {limit}alpha"
    )


def _imagined(sizes: Mapping[str, int], grown: str, sorts: Mapping[str, SafetySort]) -> Evidence:
    """Evidence of a graft that everything speaks for, to see what gates would ask of sealed text."""
    best = Interval(estimate=1.0, low=1.0, high=1.0, standard_error=0.0, num_documents=2)
    none = Interval(estimate=0.0, low=0.0, high=0.0, standard_error=0.0, num_documents=2)
    spread = Spread(mean=1.0, deviation=0.1, num_documents=2)
    spreads: Mapping[Against, Spread] = {"stack": spread, "base": spread}
    others = [suite for suite in sizes if suite != grown and suite not in sorts]
    return Evidence(
        graft="",
        candidate=Candidate(sites=(), kind=""),
        base="",
        stack=(),
        documents={},
        grown=grown,
        gain_bpb=best,
        regression_bpb=dict.fromkeys(others, none),
        drift_bpb=dict.fromkeys(others, none),
        spreads=dict.fromkeys([grown, *others], spreads),
        cost=Cost(num_params=0),
        safety={
            suite: SafetyMeasure(sort=sort, rise=none, after=0.0, rate=none if sort in _RATES else None, spread=spread)
            for suite, sort in sorts.items()
        },
    )


def fewest_documents(claim: Claim, log_threshold: float, *, early: bool = False) -> int:
    """How many documents a claim takes at the very least: each saving as much as counts, none losing any.

    Args:
        early: Whether one may stop as soon as it is shown, which takes another test of a share, and some more of them.
    """

    def is_rare(num: int, share: float) -> bool:
        if early:
            return float(running_log_tail_e_values(np.zeros(num, dtype=bool), at_most=share)[-1]) >= log_threshold
        return -log_tail_p_value(0, num, at_most=share) >= log_threshold

    def suffices(num: int) -> bool:
        if claim.test == "rate":
            return is_rare(num, claim.above)
        tail = claim.at_most_heavy >= 1 or is_rare(num, claim.at_most_heavy)
        best = np.full(num, claim.clip)
        return tail and log_e_value(best, above=claim.above, clip=claim.clip) >= log_threshold

    high = 2
    while not suffices(high) and high < _MOST_DOCUMENTS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
