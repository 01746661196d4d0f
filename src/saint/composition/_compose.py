import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from saint.composition._places import check_sites, place_of, slots
from saint.grafts import Graft, Kind
from saint.models import FrozenBase, share_weights


@final
class Composed(nn.Module):
    """The base with grafts at its sites, as an ordinary module that answers as the Hugging Face model does.

    It holds a copy of the base's module tree over the very same weights, so that the base itself never gets a hook
    and several compositions can be used side by side.
    """

    def __init__(self, base: nn.Module, stack: Sequence[Graft]) -> None:
        super().__init__()
        self._attached: list[tuple[Kind, Kind]] = []
        self.model: Any = share_weights(base)
        self.stack = nn.ModuleList(stack)
        parts: dict[str, list[Kind]] = defaultdict(list)
        for graft in stack:
            for site in graft.candidate.sites:
                parts[site.module].append(self._as_attached(graft.parts[site.key]))
        for module, there in parts.items():  # one hook per module, so that grafts apply in the stack's order
            self.model.get_submodule(module).register_forward_hook(_hook(there), prepend=True, with_kwargs=True)

    def _as_attached(self, part: Kind) -> Kind:
        """A copy of `part` as it is now, of the same tensors; what the part is shown next, buffers too, is its own."""
        copied = copy.copy(part)
        copied._buffers = dict(part._buffers)
        self._attached.append((part, copied))
        return copied

    @override
    def _apply(self, fn: Any, recurse: bool = True) -> "Composed":
        """What moves or casts the model does so to the copies' buffers; those shared with a graft stay the graft's."""
        shared = [
            (part, copied, {name for name, buffer in copied._buffers.items() if buffer is part._buffers[name]})
            for part, copied in self._attached
        ]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part, copied, names in shared:
            for name, buffer in copied._buffers.items():
                if buffer is not None:
                    copied._buffers[name] = part._buffers[name] if name in names else fn(buffer)
        return self

    @property
    def config(self) -> Any:
        """The base's Hugging Face configuration."""
        return self.model.config

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the base answers once each graft has changed its site, first graft first."""
        return self.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """`generate` of the Hugging Face model, with the grafts at work."""
        return self.model.generate(*args, **kwargs)


def compose(base: FrozenBase, stack: Sequence[Graft]) -> Composed:
    """An ordinary `nn.Module` that computes the base with its grafts; grafts at one site apply in order.

    Raises:
        SiteError: The base has no such site; see `check_sites`.
    """
    slot_of = slots(base, stack)
    for index, graft in enumerate(stack):
        check_sites(base, graft.candidate.sites)
        for wanted in graft.candidate.sites:
            place = place_of(base, wanted, layer_index=slot_of.get((index, wanted.key), 0))
            graft.parts[wanted.key].attach(place)
        graft.to(device=base.model.device)
    return Composed(base.model, stack)


def _hook(parts: Sequence[Kind]) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return apply_parts(parts, args, kwargs, output)

    return hook


def apply_parts(parts: Iterable[Kind], args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
    """What a module answers once each part has changed it in turn, in float32 whatever the base computes in.

    Args:
        parts: What is attached to the module, first graft first.
        args: What the module was called with, `kwargs` as well.
        output: What the module answered: a tensor, or a tuple whose first element it is.
    """
    x: Tensor = args[0] if args else next(value for value in kwargs.values() if isinstance(value, Tensor))
    y: Tensor = output[0] if isinstance(output, tuple) else output
    changed = _wide(y)
    for part in parts:
        changed = part.answer(_wide(x), changed, args, kwargs)
    changed = changed.to(y.dtype)
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
