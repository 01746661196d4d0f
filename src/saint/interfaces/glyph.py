"""Each token as what its letters look like."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from saint import records
from saint.errors import ConfigError, DataError
from saint.interfaces import Interface, Layout, Made, Sources
from saint.interfaces._distinct import first_alike, num_distinct
from saint.interfaces._font import open_font
from saint.interfaces._render import render

_STEPS = 32767
_ROWS_AT_ONCE = 1 << 13


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How large pictures are, what is kept of them, and how many may be no good."""

    cell: int = 32
    """Pixels of a token's square, each way."""
    num_components: int = 0
    """Principal components that are kept; 0: as many as there are pixels, or as the model is wide."""
    norm: float = 1.0
    """Of each row, at the model's width."""
    max_missing: float = 0.01
    """The largest share of tokens with a character that the font lacks."""
    max_collisions: float = 0.02
    """The largest share of tokens that look as an earlier one does."""


@final
class Glyph(Interface):
    """The token's string drawn with a bitmap font in one square, turned by PCA over the vocabulary, and normalised.

    Unlike what was published, nothing is rotated, shifted or blurred by chance, and pixels of squeezed strings are
    grey. Numbers are kept in 65,535 steps.
    """

    reference: ClassVar[str] = "arXiv:2507.04886"
    needs_tokens: ClassVar[bool] = True
    Options: ClassVar[type] = Options

    @property
    @override
    def layout(self) -> Layout:
        options, num_pixels = self.options, self.options.cell**2
        if options.cell < 1 or not 0 <= options.num_components <= num_pixels:
            raise ConfigError(
                f"num_components is {options.num_components} of a cell of {options.cell} pixels each way; expected "
                "at least 1 pixel, and from 0 components to as many as pixels"
            )
        num_columns = options.num_components or min(num_pixels, self.d_model)
        unit = options.norm / _STEPS * math.sqrt(num_columns / self.d_model)
        return Layout(num_columns=num_columns, dtype=torch.int16, unit=unit)

    @property
    @override
    def row_norm(self) -> float:
        return float(self.options.norm)

    @override
    def make(self, sources: Sources) -> Made:
        tokens = list(sources.tokens)
        if len(tokens) != self.vocab_size:
            raise DataError(
                f"{len(tokens)} texts of tokens came for a vocabulary of {self.vocab_size}; give the text of each "
                "token, as saint.interfaces.token_texts says them of a tokenizer (--tokenizer of a command)"
            )
        font = open_font(sources.font)
        pictures, missing = render(tokens, font, cell=self.options.cell)
        self._must_be_drawn(tokens, missing, font.name)
        code = _normalised(pictures, self.layout.num_columns)
        num_collisions = len(code) - num_distinct(code)
        if num_collisions > self.options.max_collisions * self.vocab_size:
            one, other = first_alike(code)
            raise DataError(
                f"{num_collisions} of {self.vocab_size} tokens look as an earlier one does, such as {tokens[other]!r} "
                f"as {tokens[one]!r}, more than the share of {self.options.max_collisions:g} that max_collisions "
                "allows; take a larger cell, a font with more characters, or allow more"
            )
        facts = {"font": font.name, "font_digest": font.digest, "tokens_digest": records.digest(tokens)}
        return Made(code=code, facts={**facts, "num_missing": int(missing.sum()), "num_collisions": num_collisions})

    def _must_be_drawn(self, tokens: list[str], missing: NDArray[np.bool_], font: str) -> None:
        num_missing = int(missing.sum())
        if num_missing > self.options.max_missing * self.vocab_size:
            raise DataError(
                f"{font} lacks a character of {num_missing} of {self.vocab_size} tokens, such as "
                f"{tokens[int(missing.argmax())]!r}, more than the share of {self.options.max_missing:g} that "
                "max_missing allows; give a font with more characters, such as GNU Unifont, or allow more"
            )


def _normalised(pictures: NDArray[np.uint8], num_columns: int) -> NDArray[np.int16]:
    """Coordinates along the principal axes of all pictures, each row of norm 1, in `_STEPS` steps.

    The covariance is exact, being of whole numbers; an axis points to where its largest number is positive; and steps
    are far coarser than the digits in which machines differ.
    """
    num_pixels = pictures.shape[1]
    gram, total = np.zeros((num_pixels, num_pixels)), pictures.sum(axis=0, dtype=np.float64)
    for piece in _pieces(pictures):
        gram += piece.T @ piece
    _, axes = np.linalg.eigh(len(pictures) * gram - np.outer(total, total))
    axes = axes[:, ::-1][:, :num_columns]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    mean = total / len(pictures)
    return np.concatenate([_steps((piece - mean) @ axes) for piece in _pieces(pictures)])


def _pieces(pictures: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    return [pictures[at : at + _ROWS_AT_ONCE].astype(np.float64) for at in range(0, len(pictures), _ROWS_AT_ONCE)]


def _steps(rows: NDArray[np.float64]) -> NDArray[np.int16]:
    norms: Any = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.rint(rows / np.where(norms > 0, norms, 1.0) * _STEPS).astype(np.int16)
