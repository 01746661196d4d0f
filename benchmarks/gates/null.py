"""How often one question accepts a candidate that is no better: five shapes of what documents save, mean nothing."""

from collections.abc import Callable
from math import sqrt

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import ALPHA, AT_MOST_HEAVY, SPREAD, Differences, one_test, paired_t
from benchmarks.gates.setting import Setting

NUM_DOCUMENTS = 500
_NUM_WINDOWS, _CARRIED = 8, 0.8  # of a document, and what one window's difference has of the last one's
_HEAVY_SHARE, _HEAVY = 0.01, 0.99
_COPIES = 4
_MANY = 5000

Random = np.random.Generator


def measure(setting: Setting) -> Findings:
    """The gate's test at the level alpha, beside Student's paired test at the same."""
    found = Findings(setting=setting, heads=("documents save", "gate", "paired t"))
    num = setting.num(2000, 40)
    limit = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / num)
    for name, draw in SHAPES.items():
        random = setting.random("null", *name.encode())
        gates, ts = _rates([draw(random) for _ in range(num)])
        found.rows.append((name, f"{gates:.4f}", f"{ts:.4f}"))
        found.ask(f"null_{name.split(',')[0].replace(' ', '_')}", gates, limit)
    _beyond(found, num)
    found.notes.append(f"{num:,} simulations of {NUM_DOCUMENTS} documents each; limit: alpha + 3 standard errors")
    return found


def _beyond(found: Findings, num: int) -> None:
    """What no figure is asked of: a guard that guards nothing, windows taken for documents, documents that repeat."""
    random = found.setting.random("beyond")
    rare = [_rare_harm(random, _MANY) for _ in range(num)]
    for said, share in (("with", AT_MOST_HEAVY), ("without", 1.0)):
        rate = sum(one_test(saved, at_most_heavy=share) for saved in rare) / num
        found.rows.append((f"rare heavy harm, {_MANY:,} documents, {said} the tail guard", f"{rate:.4f}", ""))
    windows, copies = [_windows(random).ravel() for _ in range(num)], [_copied(random) for _ in range(num)]
    for name, draws in (("windows taken for documents", windows), (f"every document {_COPIES} times", copies)):
        gates, ts = _rates(draws)
        found.rows.append((f"not allowed: {name}", f"{gates:.4f}", f"{ts:.4f}"))


def _rates(draws: list[Differences]) -> tuple[float, float]:
    return sum(map(one_test, draws)) / len(draws), sum(map(paired_t, draws)) / len(draws)


def _normal(random: Random) -> Differences:
    return random.normal(0, SPREAD, NUM_DOCUMENTS)


def _few_large_losses(random: Random) -> Differences:
    return SPREAD * (1 - random.exponential(1, NUM_DOCUMENTS))


def _few_large_savings(random: Random) -> Differences:
    return -_few_large_losses(random)


def _rare_harm(random: Random, num: int = NUM_DOCUMENTS) -> Differences:
    """Nearly all save a little, one in a hundred loses a hundred times as much: the mean is 0 exactly."""
    return np.where(random.random(num) < _HEAVY_SHARE, -_HEAVY, _HEAVY * _HEAVY_SHARE / (1 - _HEAVY_SHARE))


def _windows(random: Random) -> np.ndarray:
    """(documents, windows): the windows of one document have much in common."""
    carried = random.normal(0, SPREAD, (NUM_DOCUMENTS, _NUM_WINDOWS))
    for place in range(1, _NUM_WINDOWS):
        carried[:, place] = _CARRIED * carried[:, place - 1] + sqrt(1 - _CARRIED**2) * carried[:, place]
    return carried


def _clustered(random: Random) -> Differences:
    return np.asarray(_windows(random).mean(1))


def _copied(random: Random) -> Differences:
    return np.repeat(random.normal(0, SPREAD, NUM_DOCUMENTS // _COPIES), _COPIES)


SHAPES: dict[str, Callable[[Random], Differences]] = {
    "normal": _normal,
    "exponential losses, skewed to the left": _few_large_losses,
    "exponential savings, skewed to the right": _few_large_savings,
    "rare heavy harm, with the tail guard": _rare_harm,
    "clustered, windows of one document alike": _clustered,
}
