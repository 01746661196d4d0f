"""Times that a busy machine hardly moves: processor seconds of one thread, variants in turn, ratios within a turn.

Load changes how long a step takes, but it changes it for whatever runs just before and just after. So all variants are
run one after the other, again and again, and only ratios of times from one such turn are taken; a figure is the median
over the turns. Seconds are never compared between runs.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch

_WIDE_SPREAD = 0.15


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times as fast as its rival something is, over the turns of one run; above 1 is faster."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Ratio":
        """The median of some ratios, and the smallest and largest."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))

    @property
    def is_wide(self) -> bool:
        """Whether the turns differ so much that the median says little."""
        return self.high > self.median * (1 + _WIDE_SPREAD) or self.median > self.low * (1 + _WIDE_SPREAD)

    def times(self, factor: float) -> "Ratio":
        """The ratio of as much work done `factor` times."""
        return Ratio(median=self.median * factor, low=self.low * factor, high=self.high * factor)


@final
class Times:
    """Processor seconds of some variants, turn by turn."""

    def __init__(self, seconds: Mapping[str, Sequence[float]]) -> None:
        self.seconds = {name: list(taken) for name, taken in seconds.items()}

    def ratio(self, ours: str, rival: str, *, work: float = 1.0) -> Ratio:
        """How many times as fast as `rival` is `ours`.

        Args:
            work: How many times as much `ours` did in its time.
        """
        pairs = zip(self.seconds[rival], self.seconds[ours], strict=True)
        return Ratio.of([work * slow / fast for slow, fast in pairs])

    def median_s(self, name: str) -> float:
        """Processor seconds of one variant."""
        return statistics.median(self.seconds[name])


def take_turns(variants: Mapping[str, Callable[[], object]], *, repeats: int) -> Times:
    """Run each variant once without looking, then all in turn `repeats` times."""
    assert torch.get_num_threads() == 1, "processor time of several threads is not what one waits for"
    for work in variants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, work in variants.items():
            seconds[name].append(seconds_of(work))
    return Times(seconds)


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of this process while it does `work`."""
    started = time.process_time()
    work()
    return time.process_time() - started


@final
class Gemm:
    """Products of matrices of the shape at which this machine is fastest: its peak, to be taken in turn with others."""

    _SHAPES = ((2048, 512, 512), (2048, 512, 2048), (1024, 1024, 1024))
    _REPEATS = 3

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._operands = [
            (torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype))
            for rows, inner, columns in self._SHAPES
        ]
        fastest = min(self._operands, key=lambda pair: self._seconds_per_flop(*pair))
        self._operands = [fastest]

    @property
    def num_flops(self) -> int:
        """Of one call."""
        [(x, weight)] = self._operands
        return 2 * x.shape[0] * x.shape[1] * weight.shape[0] * self._REPEATS

    def __call__(self) -> None:
        [(x, weight)] = self._operands
        for _ in range(self._REPEATS):
            torch.nn.functional.linear(x, weight)

    def _seconds_per_flop(self, x: torch.Tensor, weight: torch.Tensor) -> float:
        def work() -> None:
            torch.nn.functional.linear(x, weight)

        work()
        return min(seconds_of(work) for _ in range(self._REPEATS)) / (x.shape[0] * x.shape[1] * weight.shape[0])
