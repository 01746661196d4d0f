"""Rows that are equal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def num_distinct(code: NDArray[Any]) -> int:
    """How many of the rows differ."""
    return len(np.unique(_as_bytes(code)))


def first_alike(code: NDArray[Any]) -> tuple[int, int]:
    """The earliest row that is as an earlier one is, after that one; there must be such a row."""
    _, firsts, inverse = np.unique(_as_bytes(code), return_index=True, return_inverse=True)
    other = int(np.flatnonzero(firsts[inverse] < np.arange(len(code)))[0])
    return int(firsts[inverse[other]]), other


def _as_bytes(code: NDArray[Any]) -> NDArray[Any]:
    rows = np.ascontiguousarray(code)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
