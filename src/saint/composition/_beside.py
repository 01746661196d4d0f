"""Several grafts at once on one base, each in its own share of the rows of a batch."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap

from saint.grafts import Kind


class Rows(NamedTuple):
    """What happens to the rows of some neighbouring grafts at one module."""

    start: int
    """The first of the grafts whose rows these are."""
    parts: tuple[Kind | None, ...]
    """What each of them has there; nothing for one that leaves the module as it is."""


@final
class Beside:
    """What grafts that stand side by side make of a module's answer: graft c of C changes the c-th share of the rows.

    No row of one graft ever meets a row of another, so that each computes what it would alone. Neighbours of one kind
    and the same options are applied in one batched product if they may be stacked, else one after the other.
    """

    def __init__(self, parts: Sequence[Kind | None], *, alike: Sequence[object], stacked: bool) -> None:
        """Put parts side by side.

        Args:
            parts: What each graft has at the module, if anything.
            alike: For each, what it must have in common with a neighbour to be stacked with it.
            stacked: Whether any may be stacked.
        """
        self._num = len(parts)
        self._rows: list[tuple[Rows, _Stacked | None]] = []
        for _, found in groupby(range(len(parts)), key=lambda index: parts[index] is not None and alike[index]):
            own = list(found)
            there = [part for index in own if (part := parts[index]) is not None]
            together = stacked and len(there) > 1 and all(part.can_stack for part in there)
            rows = Rows(own[0], tuple(parts[index] for index in own))
            self._rows.append((rows, _Stacked(there) if together else None))

    def answer(self, x: Tensor, y: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """The answer `y` to the input `x` with every graft's rows changed by that graft."""
        pieces = []
        for (start, parts), stacked in self._rows:
            own = self._share(len(y), start, len(parts))
            if stacked is not None:
                pieces.append(stacked(x[own], y[own]))
                continue
            for place, part in enumerate(parts, start):
                one = self._share(len(y), place, 1)
                pieces.append(y[one] if part is None else self._alone(part, one, (x, y), args, kwargs))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _share(self, num_rows: int, start: int, num: int) -> slice:
        each = num_rows // self._num
        return slice(start * each, (start + num) * each)

    def _alone(
        self, part: Kind, own: slice, flow: tuple[Tensor, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        x, y = flow
        mine = tuple(_cut(value, own, len(y)) for value in args)
        return part.answer(x[own], y[own], mine, {name: _cut(value, own, len(y)) for name, value in kwargs.items()})


@final
class _Stacked:
    """Parts of one kind, options and site as one batched function of their stacked parameters."""

    def __init__(self, parts: Sequence[Kind]) -> None:
        self._parts = parts
        names = [name for name, _ in parts[0].named_buffers() if name != "strength"]  # which changes as it fades in
        self._fixed = {name: torch.stack([part.get_buffer(name) for part in parts]) for name in names}

    def __call__(self, x: Float[Tensor, "rows ..."], y: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        names = [name for name, _ in self._parts[0].named_parameters()]
        moving = {name: torch.stack([part.get_parameter(name) for part in self._parts]) for name in names}
        moving["strength"] = torch.stack([part.strength for part in self._parts])
        num = len(self._parts)
        changed: Tensor = vmap(self._one)(moving, self._fixed, x.unflatten(0, (num, -1)), y.unflatten(0, (num, -1)))
        return changed.flatten(0, 1)

    def _one(self, moving: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        changed: Tensor = functional_call(self._parts[0], {**moving, **fixed}, (x, y))
        return changed


def _cut(value: Any, own: slice, num_rows: int) -> Any:
    """The rows of one graft, of whatever has a row for each row of the batch."""
    if isinstance(value, Tensor):
        return value[own] if value.ndim and len(value) == num_rows > 1 else value
    return tuple(_cut(inner, own, num_rows) for inner in value) if isinstance(value, tuple) else value
