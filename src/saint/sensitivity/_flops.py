"""What measuring costs, in floating-point operations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
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
    return int(6 * m * n**2 + 20 * n**3)


def _eigenvalues(shape: Any, *_args: Any, **_kwargs: Any) -> int:
    return int(4 * shape[-1] ** 3 // 3)


_aten = torch.ops.aten
_DECOMPOSITIONS: Mapping[Any, Callable[..., int]] = {
    _aten.linalg_cholesky_ex: _cholesky,
    _aten.linalg_solve_triangular: _triangular,
    _aten.linalg_qr: _qr,
    _aten._linalg_svd: _svd,
    _aten._linalg_eigh: _eigenvalues,
}
"""Leading terms for real matrices (Golub and Van Loan, Matrix Computations, 4th edition); the singular value
decomposition with both sides of vectors, eigenvalues without."""


@final
class FlopMeter:
    """Counts the batches and what follows them, and how much of that is the maps' own.

    Matrix products and attention are counted as PyTorch's FlopCounterMode counts them, decompositions by their leading
    terms; operations on single entries are not counted. The first two batches are counted, for in the first a map may
    work out what it keeps; every further one is like the second, and counting would slow it down.
    """

    def __init__(self) -> None:
        self._running: FlopCounterMode | None = None
        self._of_maps = 0
        self.num_flops = self.num_of_maps = 0

    @contextmanager
    def batch(self, step: int, num_batches: int) -> Iterator[None]:
        """Batch `step` of so many runs within."""
        times = 1 if step == 0 else num_batches - 1
        with self.counting(times) if step < _NUM_COUNTED else nullcontext():
            yield

    @contextmanager
    def counting(self, times: int = 1) -> Iterator[None]:
        """Count what runs within as if it ran so many times."""
        self._of_maps = 0
        with FlopCounterMode(display=False, custom_mapping=dict(_DECOMPOSITIONS)) as self._running:
            yield
        self.num_flops += times * int(self._running.get_total_flops())
        self.num_of_maps += times * self._of_maps
        self._running = None

    @contextmanager
    def for_maps(self) -> Iterator[None]:
        """What runs within is the maps' own."""
        if self._running is None:
            yield
            return
        before = int(self._running.get_total_flops())
        yield
        self._of_maps += int(self._running.get_total_flops()) - before


_NUM_COUNTED = 2
