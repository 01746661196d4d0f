"""How long a training took, of a processor that has other things to do as well."""

import time
from collections.abc import Callable
from typing import TypeVar

from saint import records
from saint.grafts import History
from saint.search import Result

M = TypeVar("M")


def watching_the_clock(training: Callable[[], M]) -> tuple[M, float]:
    """What a training returns, and the share of its time in which the processor was its own, at most 1."""
    began, worked = time.monotonic(), time.process_time()
    found = training()
    return found, min(1.0, (time.process_time() - worked) / (time.monotonic() - began))


def plain_history(history: History, busy: float) -> Result:
    """How something was trained; its time is the processor's, so that what else a machine does is not counted.

    Args:
        busy: The share of the time that the processor had for it since it was last taken up; what came before a stop is
            taken to have been the same.
    """
    plain: Result = records.to_plain(history)
    return plain | {"time_s": plain["time_s"] * busy}
