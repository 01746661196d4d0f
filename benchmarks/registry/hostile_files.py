"""Files that are no graft: what answering each costs, and what becomes of a million mutations.

    python -m benchmarks.registry.hostile_files [NUM_MUTATIONS]

prints a line for each figure that was asked for; the exit status is 1 when one is short.
"""

import contextlib
import sys
import time
import tracemalloc
from pathlib import Path

from saint.errors import GraftFileError
from saint.report import Figure
from saint.weights import check_weights
from tests.hostile_files import CRAFTED, FURTHER, built, differences, try_mutations

_TURNS = 3


def figures(folder: Path) -> list[Figure]:  # noqa: ARG001 - nothing is written
    """Of all crafted files and a million mutations."""
    return measure()


def measure(num_mutations: int = 1_000_000) -> list[Figure]:
    """The figures; a case that was to be refused and was not, or is read otherwise by safetensors, counts as wrong."""
    slowest_s, most_bytes, num_wrong = 0.0, 0, 0
    for case in {**CRAFTED, **FURTHER}.values():
        content = built(case)
        slowest_s = max(slowest_s, min(_seconds(content) for _ in range(_TURNS)))
        most_bytes = max(most_bytes, _peak_bytes(content))
        num_wrong += _is_wrong(content, refused=case[1] is not None)
    tally = try_mutations(num_mutations)
    figures = (
        ("hostile_files_wrongly_answered", num_wrong, 0.0),
        ("hostile_files_slowest_ms", round(1000 * slowest_s, 2), 50.0),
        ("hostile_files_peak_mb", round(most_bytes / 2**20, 2), 64.0),
        ("hostile_mutations_crashed", len(tally.crashes), 0.0),
        ("hostile_mutations_read_otherwise", len(tally.disagreements), 0.0),
    )
    return [
        *(Figure(name=name, value=float(value), target=target, sense="at_most") for name, value, target in figures),
        Figure(name="hostile_mutations_tried", value=float(tally.num), target=1e6, sense="at_least"),
    ]


def _check(content: bytes) -> None:
    with contextlib.suppress(GraftFileError):
        check_weights(content)


def _seconds(content: bytes) -> float:
    started = time.process_time()
    _check(content)
    return time.process_time() - started


def _peak_bytes(content: bytes) -> int:
    tracemalloc.start()
    _check(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _is_wrong(content: bytes, *, refused: bool) -> bool:
    try:
        checked = check_weights(content)
    except GraftFileError:
        return not refused
    return refused or differences(content, checked) != []


if __name__ == "__main__":
    found = measure(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
    print(*found, sep="\n")
    sys.exit(0 if all(figure.ok for figure in found) else 1)
