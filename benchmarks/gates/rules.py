"""Rules by which a candidate is accepted: those in use, and the gate's one bit as the product works it out."""

from collections.abc import Callable
from math import log, sqrt

import numpy as np
from jaxtyping import Float64

from saint.judging import is_shown
from saint.records import Claim, SuiteLosses
from saint.statistics import log_threshold, student_quantile

ALPHA = 0.05
SPREAD = 0.1
"""Standard deviation of one document's difference, in simulations."""
DEVIATIONS = 5.0
"""Where the gate clips, in standard deviations."""
AT_MOST_HEAVY = 0.01
"""The tail guard of the simulations: fewer documents than this share may lose more than the clip."""

Differences = Float64[np.ndarray, " documents"]
Rule = Callable[[Differences, int, int], bool]
"""Whether to accept, from what each document saves, the query's number, and how many passed before."""


def mean_is_above_zero(saved: Differences, _number: int = 1, _num_passed: int = 0) -> bool:
    """The rule of many a training script."""
    return float(saved.mean()) > 0


def paired_t(saved: Differences, _number: int = 1, _num_passed: int = 0) -> bool:
    """Student's paired test, one-sided, as honest as it gets for a single question."""
    error = float(saved.std(ddof=1)) / sqrt(len(saved))
    return float(saved.mean()) > student_quantile(1 - ALPHA, len(saved) - 1) * error


def gate(saved: Differences, number: int = 1, num_passed: int = 0) -> bool:
    """The gate, at the level that its ledger gives this query."""
    return shows(saved, log_threshold(number, num_passed, alpha=ALPHA), clip=DEVIATIONS * SPREAD)


RULES: dict[str, Rule] = {"mean > 0": mean_is_above_zero, "paired t": paired_t, "the gate": gate}


def one_test(saved: Differences, *, clip: float = DEVIATIONS * SPREAD, at_most_heavy: float = AT_MOST_HEAVY) -> bool:
    """The gate's test by itself at the level alpha, with nothing kept for later questions."""
    return shows(saved, -log(ALPHA), clip=clip, at_most_heavy=at_most_heavy)


def shows(saved: Differences, threshold: float, *, clip: float, at_most_heavy: float = AT_MOST_HEAVY) -> bool:
    """The bit that sealed text answers with: is a mean above 0 shown, and is heavy harm shown to be rare?"""
    claim = Claim(
        gate="gain", suite="simulated", against="stack", test="mean", above=0.0, clip=clip, at_most_heavy=at_most_heavy
    )
    before = tuple(saved.tolist())
    losses = SuiteLosses(unit="nats", documents="", base=before, before=before, after=(0.0,) * len(before))
    return is_shown(claim, losses, threshold)
