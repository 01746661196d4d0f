"""What measuring costs, in floating-point operations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override


def _cholesky(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    n = matrix.shape[-1]
    return int(n**3 // 3)


def _triangular(_triangle: Any, right: Any, *_args: Any, left: bool = True, **_kwargs: Any) -> int:
    return int(prod(right.shape) * right.shape[-2 if left else -1])


def _qr(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    m, n = max(matrix.shape[-2:]), min(matrix.shape[-2:])
    return int(4 * m * n**2 - 4 * n**3 // 3)


def _svd(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    m, n = max(matrix.shape[-2:]), min(matrix.shape[-2:])
    return int(6 * m * n**2 + 20 * n**3)


def _eigenvalues(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    return int(4 * matrix.shape[-1] ** 3 // 3)


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
class _Counting(TorchDispatchMode):
    """Adds up the operations that run within, by the formulas of PyTorch's own counter and those above.

    PyTorch's own also follows which module is running and looks at every operation afresh; of small models that took a
    fifth of all the time that measuring took. Here an operation without a formula costs a look into a dictionary.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it without annotations
        self.num_flops = 0
        self._formulas: dict[int, Callable[..., int] | None] = {}
        """By the operation's id, for its hash is worked out in Python; operations live as long as PyTorch does."""

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if id(func) not in self._formulas:
            formula = _formula_of(func)
            if formula is None and (out := self._taken_apart(func, args, kwargs)) is not NotImplemented:
                return out
            self._formulas[id(func)] = formula
        out = func(*args, **kwargs)
        if (formula := self._formulas[id(func)]) is not None:
            self.num_flops += int(formula(*args, **kwargs, out_val=out))
        return out

    def _taken_apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operation that is made of others gives, these being counted; in inference mode they come so."""
        if not isinstance(func, torch._ops.OpOverload):
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)


def _formula_of(func: Any) -> Callable[..., int] | None:
    packet = getattr(func, "_overloadpacket", func)
    return _DECOMPOSITIONS.get(packet) or flop_registry.get(packet)


@final
class FlopMeter:
    """Counts the batches and what follows them, and how much of that is the maps' own.

    Matrix products and attention are counted as PyTorch's FlopCounterMode counts them, decompositions by their leading
    terms; operations on single entries are not counted. The first two batches are counted, for in the first a map may
    work out what it keeps; every further one is like the second, and counting would slow it down.
    """

    def __init__(self) -> None:
        self._running: _Counting | None = None
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
        with _Counting() as self._running:
            yield
        self.num_flops += times * self._running.num_flops
        self.num_of_maps += times * self._of_maps
        self._running = None

    @contextmanager
    def for_maps(self) -> Iterator[None]:
        """What runs within is the maps' own."""
        if self._running is None:
            yield
            return
        before = self._running.num_flops
        yield
        self._of_maps += self._running.num_flops - before


_NUM_COUNTED = 2
