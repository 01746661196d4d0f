"""Each token as the binary digits of its id."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from typing_extensions import override

from saint.errors import ConfigError
from saint.interfaces import Interface, Layout, Made, Sources, bits_for
from saint.interfaces._interface import must_name_all
from saint.interfaces._random import binary_digits, permutation


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How ids are spelled; the last two are controls, which take away what an id says."""

    coding: Literal["signs", "bits"] = "signs"
    """-1 and 1, of which all rows have one norm, or 0 and 1 as published, where token 0 is the zero vector."""
    num_bits: int = 0
    """0: just enough to tell all tokens apart."""
    dropped_bits: int = 0
    """So many of the last digits are left out: two, four, ... tokens then share a row; with none left, all do."""
    permutation_seed: int | None = None
    """Spell the place of an id in an order by chance instead."""


@final
class Binary(Interface):
    """The ceil(log2 V) binary digits of the token's id, the most significant first, and nothing else.

    The rank is at most the number of digits, and what a token means has to be found by the blocks above.
    """

    reference: ClassVar[str] = "arXiv:2507.07129"
    Options: ClassVar[type] = Options

    @property
    @override
    def layout(self) -> Layout:
        options = self.options
        num_bits = options.num_bits or bits_for(self.vocab_size)
        must_name_all(self.vocab_size, num_bits)
        if not 0 <= options.dropped_bits <= num_bits:
            raise ConfigError(
                f"dropped_bits is {options.dropped_bits}, expected from 0 to the {num_bits} that there are"
            )
        kept = max(1, num_bits - options.dropped_bits)  # with nothing kept, a column of zeros
        if options.coding == "signs":
            return Layout(num_columns=kept, dtype=torch.uint8, unit=2.0, offset=-1.0)
        return Layout(num_columns=kept, dtype=torch.uint8)

    @property
    @override
    def row_norm(self) -> float:
        return math.sqrt(self.d_model if self.options.coding == "signs" else self.d_model / 2)

    @override
    def make(self, sources: Sources) -> Made:
        options = self.options
        num_bits = options.num_bits or bits_for(self.vocab_size)
        ids = np.arange(self.vocab_size, dtype=np.int64)
        if options.permutation_seed is not None:
            ids = permutation(options.permutation_seed, self.vocab_size)
        code = binary_digits(ids, num_bits)[:, : num_bits - options.dropped_bits]
        return Made(code=code if code.shape[1] else np.zeros((self.vocab_size, 1), dtype=np.uint8))
