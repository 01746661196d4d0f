"""How many documents a real gain takes, simulated, beside the reference's table and the product's prediction."""

from math import ceil

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import ALPHA, DEVIATIONS, SPREAD
from benchmarks.gates.setting import Setting
from saint.statistics import documents_needed, log_threshold, running_log_e_values

POWER = 0.8
QUERIES = ((1, 0), (10, 2), (100, 10), (1000, 30))
"""Number of the query, and how many passed before it."""
REFERENCE = {
    1.0: (57, 129, 362, 1159),
    0.5: (119, 288, 822, 2408),
    0.2: (509, 1191, 3147, 9414),
    0.1: (1951, 4711, 10800, 33900),
}
"""Gain in standard deviations -> documents for each of `QUERIES`."""
BY_FORMULA = {(0.1, (100, 10)), (0.1, (1000, 30))}
"""Of these the reference has a rule of thumb's number, not a simulation's."""
_LONGER = 1.15  # than predicted, are the paths that the number is read off


def measure(setting: Setting) -> Findings:
    """Four paths out of five are above the threshold at the number of documents that is told."""
    found = Findings(setting=setting, heads=("gain / spread", "query, passed", "simulated", "predicted", "reference"))
    num = setting.num(1000, 20)
    off: dict[str, list[float]] = {"measured": [0.0], "formula": [0.0], "predicted": [0.0]}
    for ratio, row in REFERENCE.items() if setting.size == "full" else [(1.0, REFERENCE[1.0])]:
        for query, reference in zip(QUERIES, row, strict=True):
            threshold = log_threshold(*query, alpha=ALPHA)
            clip = DEVIATIONS * SPREAD
            predicted = documents_needed(ratio * SPREAD, SPREAD, threshold, clip=clip, power=POWER)
            paths = num if predicted < 5000 else max(1, num // 5)
            simulated = _simulated(setting.random("power", *query, int(10 * ratio)), ratio, threshold, predicted, paths)
            by_formula = (ratio, query) in BY_FORMULA
            off["formula" if by_formula else "measured"].append(abs(simulated / reference - 1))
            off["predicted"].append(abs(predicted / simulated - 1))
            told = f"{'~' if by_formula else ''}{reference:,}"
            found.rows.append((f"{ratio}", f"{query[0]:,}, {query[1]}", f"{simulated:,}", f"{predicted:,}", told))
    found.ask("power_off_reference", max(off["measured"]), 0.1)
    if setting.size == "full":
        found.ask("power_off_reference_by_formula", max(off["formula"]), 0.1)
    found.ask("power_off_predicted", max(off["predicted"]), 0.1)
    found.notes.append(f"normal differences, power {POWER}; ~ where the reference has a rule of thumb's number")
    return found


def _simulated(random: np.random.Generator, ratio: float, threshold: float, predicted: int, paths: int) -> int:
    """The fewest documents at which `POWER` of the paths are above the threshold."""
    longest = ceil(_LONGER * predicted) + 10
    above = np.zeros(longest)
    for _ in range(paths):
        saved = random.normal(ratio * SPREAD, SPREAD, longest)
        above += running_log_e_values(saved, above=0.0, clip=DEVIATIONS * SPREAD) >= threshold
    enough = above >= POWER * paths
    assert enough[-1], "paths are too short for the power that is asked"
    return longest - int(np.argmin(enough[::-1])) + 1
