import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from saint.composition._places import place_of, slots
from saint.errors import SiteError
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
        self.model: Any = share_weights(base)
        self.stack = nn.ModuleList(stack)
        parts: dict[str, list[Kind]] = defaultdict(list)
        for graft in stack:
            for site in graft.candidate.sites:
                parts[site.module].append(copy.copy(graft.parts[site.key]))  # as it is attached now; its weights shared
        for module, there in parts.items():  # one hook per module, so that grafts apply in the stack's order
            self.model.get_submodule(module).register_forward_hook(_hook(there), prepend=True, with_kwargs=True)

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
        SiteError: The base has no such site.
    """
    sites = {site.key: site for site in base.sites()}
    slot_of = slots(base, stack)
    for index, graft in enumerate(stack):
        for wanted in graft.candidate.sites:
            if sites.get(wanted.key) != wanted:
                there = sites.get(wanted.key, "no such site")
                raise SiteError(f"a graft of kind {graft.candidate.kind} wants {wanted}; the base has {there}")
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
