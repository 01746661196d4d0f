"""What measuring costs, in floating-point operations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any, final

import torch
from torch.utils.flop_counter import FlopCounterMode


def _cholesky(shape: Any, *_args: Any, **_kwargs: Any) -> int:
    n = shape[-1]
    return int(n**3 // 3)


def _triangular(_triangle: Any, right: Any, *_args: Any, left: bool = True, **_kwargs: Any) -> int:
    return int(prod(right) * right[-2 if left else -1])


def _qr(shape: Any, *_args: Any, **_kwargs: Any) -> int:
    m, n = max(shape[-2:]), min(shape[-2:])
    return int(4 * m * n**2 - 4 * n**3 // 3)


def _svd(shape: Any, *_args: Any, **_kwargs: Any) -> int:
    m, n = max(shape[-2:]), min(shape[-2:])
    return int(14 * m * n**2 + 8 * n**3)


_aten = torch.ops.aten
_DECOMPOSITIONS: Mapping[Any, Callable[..., int]] = {
    _aten.linalg_cholesky_ex: _cholesky,
    _aten.linalg_solve_triangular: _triangular,
    _aten.linalg_qr: _qr,
    _aten._linalg_svd: _svd,
}
"""Leading terms for real matrices (Golub and Van Loan, Matrix Computations, 4th edition, sections 3.1, 4.2, 5.2, 8.6);
the singular value decomposition with both sides of vectors."""


@final
class FlopMeter:
    """Counts what runs within it, and how much of that is the maps' own.

    Matrix products and attention are counted as PyTorch's FlopCounterMode counts them, decompositions by their leading
    terms; operations on single entries are not counted.
    """

    def __init__(self) -> None:
        self._counter = FlopCounterMode(display=False, custom_mapping=dict(_DECOMPOSITIONS))
        self.num_of_maps = 0

    @property
    def num_flops(self) -> int:
        """All that was counted so far."""
        return int(self._counter.get_total_flops())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what runs within."""
        with self._counter:
            yield

    @contextmanager
    def for_maps(self) -> Iterator[None]:
        """What runs within is the maps' own."""
        before = self.num_flops
        yield
        self.num_of_maps += self.num_flops - before
