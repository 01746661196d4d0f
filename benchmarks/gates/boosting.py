"""Attacks that put many one-bit answers together: what looked good on sealed text, added up, looks excellent there."""

from math import sqrt

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import ALPHA, AT_MOST_HEAVY, DEVIATIONS, RULES, SPREAD, paired_t, shows
from benchmarks.gates.setting import Setting
from saint.statistics import log_threshold

NUM_DOCUMENTS = 2000


def measure(setting: Setting) -> Findings:
    """The sum of what passed, judged by three rules and with two ways of keeping accounts."""
    num, num_queries = setting.num(100, 3), 400 if setting.size == "full" else 60
    found = Findings(setting=setting, heads=("answers", "the sum is judged by", "false acceptances", "of attacks"))
    counts = dict.fromkeys((*_JUDGES, _THROUGH), 0)
    for run in range(num):
        noise = setting.random("boosting", run).normal(0, SPREAD, (num_queries, NUM_DOCUMENTS))
        passed = noise.mean(1) > 0
        together = noise[passed].sum(0) / sqrt(max(1, passed.sum()))
        for name, judged in _JUDGES.items():
            counts[name] += judged(together, num_queries, int(passed.sum()))
        counts[_THROUGH] += _through_the_gate(noise)
    for name in _JUDGES:
        found.rows.append(("is the mean above 0?", name, str(counts[name]), str(num)))
    found.rows.append(("the gate's own", "the gate, all queries and answers counted", str(counts[_THROUGH]), str(num)))
    found.ask("boosting_false_acceptances", counts[_COUNTED], 0)
    # What varies around nothing may be accepted in a share alpha of attacks; none is what was asked for all the same.
    found.ask("boosting_through_the_gate", counts[_THROUGH], 0)
    found.notes.append(
        f"{num_queries} candidates that do nothing but vary, asked one by one of {NUM_DOCUMENTS:,} documents; then the "
        "sum of those that passed. 'Answers: is the mean above 0' is a hold-out that gives away as much as one bit can"
    )
    return found


def _t(together: np.ndarray, _num_queries: int, _num_passed: int) -> bool:
    return paired_t(together)


def _uncounted(together: np.ndarray, num_queries: int, _num_passed: int) -> bool:
    """As if no answer had been a yes: the queries are counted, what they gave away is not."""
    return _shows(together, log_threshold(num_queries + 1, 0, alpha=ALPHA))


def _counted(together: np.ndarray, num_queries: int, num_passed: int) -> bool:
    return _shows(together, log_threshold(num_queries + 1, num_passed, alpha=ALPHA))


def _shows(together: np.ndarray, threshold: float) -> bool:
    return shows(together, threshold, clip=DEVIATIONS * SPREAD, at_most_heavy=AT_MOST_HEAVY)


_COUNTED, _THROUGH = "the gate, queries and answers counted", "through the gate"
_JUDGES = {
    "paired t": _t,
    "the e-value, queries counted and answers not": _uncounted,
    _COUNTED: _counted,
}


def _through_the_gate(noise: np.ndarray) -> bool:
    """The same attack where the answers are the gate's own: whether any query, or the sum at the end, is accepted."""
    gate, bits = RULES["the gate"], []
    for number, one in enumerate(noise, start=1):
        bits.append(gate(one, number, sum(bits)))
    chosen = noise[bits] if any(bits) else noise
    return any(bits) or gate(chosen.sum(0) / sqrt(len(chosen)), len(noise) + 1, sum(bits))
