"""What every group is measured on: sizes, where things are kept, how often a timing is repeated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

Size = Literal["full", "tiny"]
Width = Literal["small", "middle", "large"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One run of the benchmarks.

    The size `full` is the one that figures were asked for. `tiny` runs the same code in seconds, to see that it works;
    its ratios mean nothing, and its figures are named `smoke_...`.
    """

    work: Path
    """Where text and the trained base are kept from one run to the next."""
    size: Size = "full"
    repeats: int = 5
    """How often variants are timed one after the other; a ratio is the median over these."""
    seeds: int = 3
    """Of what is trained to the end: whole rounds, and stacks against the control."""

    @property
    def num_layers(self) -> int:
        """Blocks of every base."""
        return 9 if self.size == "full" else 3

    @property
    def suffix(self) -> int:
        """Blocks in the last third."""
        return self.num_layers // 3

    def d_model(self, width: Width) -> int:
        """Of the base of that width; the small one is the trained one."""
        full = {"small": 128, "middle": 256, "large": 512}
        return full[width] if self.size == "full" else full[width] // 8

    @property
    def batch_size(self) -> int:
        """Rows of a training step."""
        return 8 if self.size == "full" else 2

    @property
    def seq_len(self) -> int:
        """Tokens of a row."""
        return 128 if self.size == "full" else 32

    @property
    def num_steps(self) -> int:
        """Steps that a candidate learns for."""
        return 60 if self.size == "full" else 6

    @property
    def timed_steps(self) -> int:
        """Steps in one timing."""
        return 4 if self.size == "full" else 2


def called(width: Width) -> str:
    """How figures name a width: by that of the full size, whatever this run's is."""
    return {"small": "d128", "middle": "d256", "large": "d512"}[width]
