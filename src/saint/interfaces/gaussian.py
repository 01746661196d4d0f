"""Each token as a vector by chance."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from typing_extensions import override

from saint.errors import ConfigError
from saint.interfaces import Interface, Layout, Made, Sources
from saint.interfaces._random import GAUSSIAN_UNIT, gaussian


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Which chance."""

    seed: int = 0
    """Another seed, other vectors."""
    num_columns: int = 0
    """Numbers drawn for each token, which are then lifted; 0: as many as the model is wide."""


@final
class Gaussian(Interface):
    """Normal numbers of mean 0 and deviation 1 in steps of 1/4096: nearly orthogonal rows without a meaning."""

    reference: ClassVar[str] = "arXiv:2507.04886"
    Options: ClassVar[type] = Options

    @property
    @override
    def layout(self) -> Layout:
        if self.options.num_columns < 0:
            raise ConfigError(f"num_columns is {self.options.num_columns}; it must not be negative")
        return Layout(num_columns=self.options.num_columns or self.d_model, dtype=torch.int16, unit=GAUSSIAN_UNIT)

    @property
    @override
    def row_norm(self) -> float:
        return math.sqrt(self.d_model)

    @override
    def make(self, sources: Sources) -> Made:
        return Made(code=gaussian(self.options.seed, self.vocab_size, self.layout.num_columns))
