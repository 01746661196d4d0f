"""Several grafts at once on one base, each in its own share of the rows of a batch."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap

from saint.grafts import Kind


class _Share(NamedTuple):
    """What happens to the rows of neighbouring grafts at one module."""

    start: int
    """The first of the grafts whose rows these are."""
    num: int
    part: "Kind | _Stacked | None"
    """What they have there; nothing if they leave the module as it is."""


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
        self._shares: list[_Share] = []
        for _, found in groupby(range(len(parts)), key=lambda index: parts[index] is not None and alike[index]):
            own = list(found)
            there = [part for index in own if (part := parts[index]) is not None]
            if not there:
                self._shares.append(_Share(own[0], len(own), None))
            elif stacked and len(there) > 1 and all(part.can_stack for part in there):
                self._shares.append(_Share(own[0], len(own), _Stacked(there)))
            else:
                self._shares += [_Share(index, 1, part) for index, part in zip(own, there, strict=True)]

    @property
    def alone(self) -> Kind | None:
        """The part of the one graft that there is, if it is the only one."""
        part = self._shares[0].part
        return part if self._num == 1 and isinstance(part, Kind) else None

    def answer(self, x: Tensor, y: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """The answer `y` to the input `x` with every graft's rows changed by that graft."""
        if self._num == 1:
            return self._changed(self._shares[0], (x, y), args, kwargs)
        each = len(y) // self._num
        sizes = [share.num * each for share in self._shares]
        pieces = []  # by `split`, whose gradient is put together once; that of a slice is as large as the whole
        for share, *flow in zip(self._shares, x.split(sizes), y.split(sizes), strict=True):
            own = slice(share.start * each, (share.start + share.num) * each)
            mine = tuple(_cut(value, own, len(y)) for value in args)
            named = {name: _cut(value, own, len(y)) for name, value in kwargs.items()}
            pieces.append(self._changed(share, (flow[0], flow[1]), mine, named))
        return torch.cat(pieces)

    def _changed(
        self, share: _Share, flow: tuple[Tensor, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        x, y = flow
        if share.part is None:
            return y
        if isinstance(share.part, _Stacked):
            return share.part(x, y)
        return share.part.answer(x, y, args, kwargs)


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
