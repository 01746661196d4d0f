"""How much of each group is run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np

Size = Literal["full", "smoke"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One run of the benchmarks.

    The size `full` is the one that figures were asked for. `smoke` runs the same code in seconds, to see that it works;
    its numbers mean nothing, and its figures are named `smoke_...`.
    """

    work: Path | None
    """Where pictures are written, and models and text kept; None to write none."""
    size: Size = "full"
    seeds: int = 1
    """By how much to multiply the simulations of each group."""

    def num(self, full: int, smoke: int) -> int:
        """Simulations, by the size."""
        return self.seeds * (full if self.size == "full" else smoke)

    def random(self, group: str, *more: int) -> np.random.Generator:
        """Numbers that depend on the group and on `more` alone, so that groups can be run apart."""
        return np.random.default_rng([*group.encode(), *more])
