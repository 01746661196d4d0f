"""Weights of which each of several processes keeps a part: whole only while an operation needs them."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from typing_extensions import override

from saint.errors import BaseChangedError

_aten = torch.ops.aten
_VIEWS = {
    _aten.detach.default,
    _aten.alias.default,
    _aten.t.default,
    _aten.transpose.int,
    _aten.permute.default,
    _aten.view.default,
    _aten.unsqueeze.default,
    _aten._to_copy.default,
}
"""What looks at a weight in another way, or in another number format: autograd keeps what comes of it for the backward
pass, so it has to stay a part."""

Gather = Callable[[int, Tensor], Tensor]
"""(which weight, this process's part of it) -> the parts of all processes in order, end to end."""


@final
class Divided(Tensor):
    """A frozen weight as a tensor: any operation on it puts it together first and lets it go after.

    Autograd keeps the part, not the whole, for the backward pass, which puts the weight together again.
    """

    @staticmethod
    @override
    def __new__(cls, _part: Tensor, like: Tensor, *_args: Any) -> "Divided":
        made: Divided = torch.Tensor._make_wrapper_subclass(
            cls,
            like.shape,
            strides=like.stride(),
            dtype=like.dtype,
            device=_part.device,
            requires_grad=False,
        )
        return made

    def __init__(
        self, part: Tensor, like: Tensor, number: int, gather: Gather, shape: torch.Size, views: tuple[Any, ...] = ()
    ) -> None:
        """Describe it.

        Args:
            part: Of the weight's numbers in row-major order, padded so that all parts are equal.
            like: A tensor of this one's geometry, without any numbers.
            number: Which weight it is.
            gather: Puts it together; all processes ask for the same weights in the same order.
            shape: Of the weight.
            views: How this one looks at the weight.
        """
        self.part, self.number = part, number
        self._like, self._gather, self._shape, self._views = like, gather, shape, views

    def whole(self) -> Tensor:
        """The weight, put together."""
        with torch.no_grad():
            found = self._gather(self.number, self.part)[: self._shape.numel()].view(self._shape)
            for view, args, kwargs in self._views:
                found = view(found, *args, **kwargs)
        return found

    @override
    def __repr__(self) -> str:  # type: ignore[override]
        return f"Divided({tuple(self.shape)}, weight {self.number})"

    @classmethod
    @override
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Put together what the operation needs, or look at it otherwise."""
        kwargs = kwargs or {}
        if func in _VIEWS and kwargs.get("device") is None:
            [own, *rest] = args
            views = (*own._views, (func, tuple(rest), kwargs))
            like = func(own._like, *rest, **kwargs)
            return cls(own.part, like, own.number, own._gather, own._shape, views)
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if isinstance(given, cls) and argument.alias_info is not None and argument.alias_info.is_write:
                raise BaseChangedError(f"{func} would write to a weight of the base; nothing may write to it")
        args, kwargs = tree_map_only(cls, cls.whole, (args, kwargs))
        return func(*args, **kwargs)


def divide_weights(model: nn.Module, gather: Gather, *, rank: int, size: int) -> list[Tensor]:
    """Leave of every frozen matrix of a model a part, in place; returns the parts.

    Vectors are small and stay whole, as do weights whose numbers do not lie in row-major order.
    """
    parts: list[Tensor] = []
    known: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is None or parameter.dim() < 2 or not parameter.is_contiguous():
                continue
            if id(parameter) not in known:
                part, like = _part_of(parameter, rank, size), torch.empty_like(parameter, device="meta")
                divided = Divided(part, like, len(parts), gather, parameter.shape)
                known[id(parameter)] = nn.Parameter(divided, requires_grad=False)
                known[id(known[id(parameter)])] = known[id(parameter)]  # where a module comes twice
                parts.append(part)
            module._parameters[name] = known[id(parameter)]
    return parts


def _part_of(parameter: Tensor, rank: int, size: int) -> Tensor:
    flat = parameter.detach().reshape(-1)
    length = -(-flat.numel() // size)
    part = flat.new_zeros(length)
    own = flat[rank * length : (rank + 1) * length]
    part[: own.numel()] = own
    return part
