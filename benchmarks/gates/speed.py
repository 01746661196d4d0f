"""What a decision about a long hold-out costs."""

import statistics
import time
from collections.abc import Callable

from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import DEVIATIONS, SPREAD, gate
from benchmarks.gates.setting import Setting
from saint.statistics import log_e_value, running_log_e_values

_REPEATS = 9


def measure(setting: Setting) -> Findings:
    """Processor time of this process, the median of some turns."""
    found = Findings(setting=setting, heads=("what", "documents", "milliseconds of processor time"))
    num = 32_000 if setting.size == "full" else 1000
    saved, clip = setting.random("speed").normal(0.01, SPREAD, num), DEVIATIONS * SPREAD
    variants: dict[str, Callable[[], object]] = {
        "the gate's answer, from recorded losses": lambda: gate(saved),
        "the e-value alone": lambda: log_e_value(saved, above=0.0, clip=clip),
        "the e-value after every document": lambda: running_log_e_values(saved, above=0.0, clip=clip),
    }
    for name, work in variants.items():
        seconds = _seconds(work)
        found.rows.append((name, f"{num:,}", f"{1000 * seconds:.1f}"))
        if work is variants["the gate's answer, from recorded losses"]:
            found.ask("speed_seconds", seconds, 0.1)
    return found


def _seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(_REPEATS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)
