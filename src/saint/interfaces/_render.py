"""What tokens look like: their strings drawn with a bitmap font and squeezed into one square each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saint.interfaces._font import GLYPH, Font

_INK = 255
_PIXELS_AT_ONCE = 1 << 24
_SPACE, _DELETE, _PICTURES = 0x20, 0x7F, 0x2400


def render(tokens: Sequence[str], font: Font, *, cell: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures (V, cell * cell) from 0 to 255, and which tokens have a character that the font lacks.

    Each character stands in a square of its own; the row of squares is resampled by area, in whole numbers, so that
    the pictures are equal on every machine. Spaces and control characters are drawn as their pictures where the font
    has these, for else they would look alike.
    """
    lengths = np.array([len(token) for token in tokens])
    glyphs = font.index[_drawn(tokens, font)]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    pictures = np.zeros((len(tokens), cell * cell), dtype=np.uint8)
    missing = np.zeros(len(tokens), dtype=np.bool_)
    for length in np.unique(lengths[lengths > 0]).tolist():
        which = np.flatnonzero(lengths == length)
        at_once = max(1, _PIXELS_AT_ONCE // (GLYPH * GLYPH * length))
        for first in range(0, len(which), at_once):
            some = which[first : first + at_once]
            drawn = glyphs[starts[some][:, None] + np.arange(length)]
            pictures[some] = _squeezed(font.bitmaps[drawn], cell)
            missing[some] = (drawn == 0).any(axis=1)
    return pictures, missing


def _drawn(tokens: Sequence[str], font: Font) -> NDArray[np.int64]:
    """The code points of all tokens one after the other, spaces and control characters by their pictures."""
    points = np.frombuffer("".join(tokens).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
    instead = np.where(points <= _SPACE, _PICTURES + points, np.where(points == _DELETE, _PICTURES + 0x21, points))
    return np.where(font.index[np.minimum(instead, len(font.index) - 1)] > 0, instead, points)


def _squeezed(bitmaps: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
    """Rows of squares (n, length, GLYPH, GLYPH) as pictures (n, cell * cell): each pixel's share of ink, times 255."""
    num_tokens, length = bitmaps.shape[:2]
    rows = bitmaps.transpose(0, 2, 1, 3).reshape(num_tokens, GLYPH, GLYPH * length).astype(np.float64)
    ink = _overlaps(GLYPH, cell) @ rows @ _overlaps(GLYPH * length, cell).T  # whole numbers, exactly
    shares: NDArray[np.uint8] = np.floor(ink * _INK / (GLYPH * GLYPH * length)).astype(np.uint8)
    return shares.reshape(num_tokens, cell * cell)


def _overlaps(num_in: int, num_out: int) -> NDArray[np.float64]:
    """(num_out, num_in): how much of each old pixel lies in each new one, a new one being num_in long."""
    new, old = np.arange(num_out)[:, None] * num_in, np.arange(num_in)[None] * num_out
    overlap: NDArray[np.int64] = np.minimum(new + num_in, old + num_out) - np.maximum(new, old)
    return np.maximum(overlap, 0).astype(np.float64)
