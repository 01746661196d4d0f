"""Each token as a word of bits by chance that no other token has."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from typing_extensions import override

from saint.errors import ConfigError
from saint.interfaces import Interface, Layout, Made, Sources, bits_for
from saint.interfaces._interface import must_name_all
from saint.interfaces._random import unique_bits


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How long the words are, how they are spelled, and which chance."""

    coding: Literal["signs", "bits"] = "signs"
    """-1 and 1, of which all rows have one norm, or 0 and 1 as published."""
    num_bits: int = 0
    """0: twice as many as it takes to tell all tokens apart, or as many as the model is wide."""
    seed: int = 0
    """Another seed, other words."""


@final
class RandomBinary(Interface):
    """Unique binary words by chance: what ids say of tokens, such as which are frequent, is gone.

    Published with 64, 256 and 1,024 bits beside the 16 of the id itself.
    """

    reference: ClassVar[str] = "arXiv:2507.04886"
    Options: ClassVar[type] = Options

    @property
    @override
    def layout(self) -> Layout:
        options = self.options
        if options.num_bits < 0:
            raise ConfigError(f"num_bits is {options.num_bits}; it must not be negative")
        needed = bits_for(self.vocab_size)
        num_bits = options.num_bits or max(needed, min(2 * needed, self.d_model))
        must_name_all(self.vocab_size, num_bits)
        if options.coding == "signs":
            return Layout(num_columns=num_bits, dtype=torch.uint8, unit=2.0, offset=-1.0)
        return Layout(num_columns=num_bits, dtype=torch.uint8)

    @property
    @override
    def row_norm(self) -> float:
        return math.sqrt(self.d_model if self.options.coding == "signs" else self.d_model / 2)

    @override
    def make(self, sources: Sources) -> Made:
        return Made(code=unique_bits(self.options.seed, self.vocab_size, self.layout.num_columns))
