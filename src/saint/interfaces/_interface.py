from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from numpy.typing import NDArray

from saint import config, discovery
from saint.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NoOptions:
    """An interface that leaves nothing to choose."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a table is stored: integers, which no conversion of a model to another dtype changes.

    A stored integer c stands for `unit` * c + `offset`; with the dtype int32 it stands for the float32 of these bits.
    """

    num_columns: int
    dtype: torch.dtype
    unit: float = 1.0
    offset: float = 0.0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What a table may be made from, besides its options."""

    tokens: Sequence[str] = ()
    """The text of each token, by its id."""
    font: Path | None = None
    """A file of glyphs."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A table as it is stored, and what there is to know of how it was made."""

    code: NDArray[Any]
    """(vocab_size, num_columns)"""
    facts: Mapping[str, int | str] = field(default_factory=dict)
    """Such as the digest of the font."""


class Interface(ABC):
    """A table of one row for each token, of `num_columns` numbers that are lifted to the model's width.

    Lifting copies: coordinate j of D is column floor(j K / D) of K, so that with D a multiple of K each column is
    repeated D / K times.
    """

    reference: ClassVar[str]
    """Where the idea is from."""
    needs_tokens: ClassVar[bool] = False
    """Whether the table depends on what tokens look like."""
    Options: ClassVar[type] = NoOptions
    """What may be chosen: a frozen dataclass in which everything has a default."""

    def __init__(self, vocab_size: int, d_model: int, options: Any = None) -> None:
        """Plan a table; nothing is made yet.

        Args:
            vocab_size: How many tokens.
            d_model: How wide the model is.
            options: An instance of the interface's `Options`; the defaults if left out.

        Raises:
            ConfigError: There is no such table.
        """
        self.vocab_size, self.d_model = vocab_size, d_model
        self.options: Any = type(self).Options() if options is None else options
        if vocab_size < 1 or d_model < 1:
            raise ConfigError(f"a table of {vocab_size} tokens and width {d_model} is empty; give at least 1 of each")
        num_columns = self.layout.num_columns
        if num_columns > d_model:
            raise ConfigError(
                f"the code of a token has {num_columns} numbers, more than the model's width of {d_model}; "
                "take a wider model or a shorter code"
            )

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """How the table is stored."""

    @property
    @abstractmethod
    def row_norm(self) -> float:
        """The root mean square of the norms of lifted rows, as planned; a tied head divides by it."""

    @property
    def is_trainable(self) -> bool:
        """Whether the table learns with the model."""
        return False

    @abstractmethod
    def make(self, sources: Sources) -> Made:
        """The table, equal on every machine for equal options and sources.

        Raises:
            DataError: The sources do not suffice.
        """


def open_interface(name: str, *, vocab_size: int, d_model: int, options: Mapping[str, Any] | None = None) -> Interface:
    """The interface called `name`, planned for so many tokens and this width.

    Raises:
        ConfigError: There is none of that name, it has no such option, or no such table is possible.
    """
    kind = discovery.find("interfaces", name, Interface)
    return kind(vocab_size, d_model, config.build(options or {}, kind.Options, where=f"interface {name}"))


def bits_for(vocab_size: int) -> int:
    """How many bits it takes to tell so many tokens apart: ceil(log2 V), and at least 1."""
    return max(1, (vocab_size - 1).bit_length())


def must_name_all(vocab_size: int, num_bits: int) -> None:
    """Refuse a code with fewer words than there are tokens.

    Raises:
        ConfigError: Says how many bits it takes.
    """
    if num_bits < bits_for(vocab_size):
        raise ConfigError(
            f"a code of {num_bits} bits names {2**num_bits} tokens, and the vocabulary has {vocab_size}; "
            f"take num_bits of at least {bits_for(vocab_size)}, or 0 for just enough"
        )
