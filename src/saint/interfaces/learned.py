"""A table that learns with the model, and that can be frozen afterwards."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from typing_extensions import override

from saint.interfaces import Interface, Layout, Made, Sources
from saint.interfaces._random import GAUSSIAN_UNIT, gaussian


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where it starts from, and whether it still learns."""

    std: float = 1.0
    """Of its numbers at birth; as large as those of codes of signs, so that a comparison is of what is learned."""
    frozen: bool = False
    """Whether learning is over; the numbers are then stored bit by bit."""
    seed: int = 0
    """Of a table that is frozen at birth."""


@final
class Learned(Interface):
    """An ordinary embedding; once frozen it has a digest, and models can share it, as they can what was never learned.

    Freezing changes nothing to the bit.
    """

    reference: ClassVar[str] = "arXiv:2507.07129"
    Options: ClassVar[type] = Options

    @property
    @override
    def layout(self) -> Layout:
        return Layout(num_columns=self.d_model, dtype=torch.int32)

    @property
    @override
    def row_norm(self) -> float:
        return float(self.options.std * math.sqrt(self.d_model))

    @property
    @override
    def is_trainable(self) -> bool:
        return not self.options.frozen

    @override
    def make(self, sources: Sources) -> Made:
        drawn = gaussian(self.options.seed, self.vocab_size, self.d_model).astype(np.float32)
        scaled = drawn * np.float32(GAUSSIAN_UNIT * self.options.std)
        return Made(code=scaled.view(np.int32))
