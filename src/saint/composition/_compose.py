import copy
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from threading import RLock
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.composition._beside import Beside
from saint.composition._places import check_sites, place_of, slots
from saint.errors import SiteError
from saint.grafts import Graft, Kind, kind_and_options
from saint.models import Divided, FrozenBase, share_weights
from saint.records import Site


@final
class Composed(nn.Module):
    """The base with grafts at its sites, as an ordinary module that answers as the Hugging Face model does.

    It holds a copy of the base's module tree over the very same weights, so that the base itself never gets a hook
    and several compositions can be used side by side.
    """

    def __init__(
        self,
        base: nn.Module,
        stack: Sequence[Graft],
        *,
        beside: Sequence[Graft] = (),
        stacked: bool = True,
        below: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._attached: list[tuple[Kind, Kind]] = []
        self._turn: AbstractContextManager[Any] = nullcontext()
        self.model: Any = share_weights(base)
        self.stack = nn.ModuleList(stack)
        self.beside = nn.ModuleList(beside)
        parts: dict[str, list[Kind | Beside]] = defaultdict(list)
        for graft in stack:
            for site in graft.candidate.sites:
                if site.module not in below:
                    parts[site.module].append(self._as_attached(graft.parts[site.key]))
        for site in {site.key: site for graft in beside for site in graft.candidate.sites}.values():
            parts[site.module].append(self._beside(site, beside, stacked=stacked))
        for module, attached in parts.items():
            inner: Any = self.model.get_submodule(module)
            there = _with_layers_changed(attached)
            if (changes := _as_weights(inner, there)) is not None:
                inner.forward = partial(_with_changed_weight, inner, changes)
            else:  # one hook per module, so that grafts apply in the stack's order
                inner.register_forward_hook(_hook(there), prepend=True, with_kwargs=True)

    def _beside(self, site: Site, grafts: Sequence[Graft], *, stacked: bool) -> Beside:
        """What these grafts have at one site, each for its own rows."""
        parts, alike = [], []
        for graft in grafts:
            part = graft.parts.get(site.key)
            if part is not None and part.changes_layers and len(grafts) > 1:
                raise SiteError(f"what changes new layers at {site.key} shares no pass with others; compose it alone")
            parts.append(None if part is None else self._as_attached(part))
            candidate = graft.candidate
            alike.append(None if part is None else kind_and_options(candidate.kind, candidate.options, site))
        return Beside(parts, alike=alike, stacked=stacked)

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
        with self._turn:
            return self.model(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """`generate` of the Hugging Face model, with the grafts at work."""
        with self._turn:
            return self.model.generate(*args, **kwargs)

    def take_turns(self) -> None:
        """Let threads that call this model wait for one another.

        Some kinds put their weights into a module of their own for the time of a call, which a second call at the same
        time would meet. A lock cannot be copied, so a model has none before.
        """
        self._turn = RLock()


def compose(base: FrozenBase, stack: Sequence[Graft]) -> Composed:
    """An ordinary `nn.Module` that computes the base with its grafts; grafts at one site apply in order.

    Raises:
        SiteError: The base has no such site; see `check_sites`.
    """
    _attach(base, stack)
    return Composed(base.model, stack)


def compose_beside(
    base: FrozenBase,
    stack: Sequence[Graft],
    grafts: Sequence[Graft],
    *,
    stacked: bool = True,
    below: Collection[str] = (),
) -> Composed:
    """Base and stack with several grafts on top that do not know each other: they share passes, not rows.

    A batch holds the rows of the first graft, then as many of the second, and so on; each share is answered as
    `compose(base, [*stack, graft])` answers it.

    Args:
        stacked: Whether grafts of one kind, options and site are applied in one batched product, which rounds
            differently from applying them one after the other.
        below: Modules at which the stack is left out, because somebody else answers for them.

    Raises:
        SiteError: The base has no such site; see `check_sites`.
    """
    for above in [[graft] for graft in grafts] or [[]]:
        _attach(base, [*stack, *above])
    return Composed(base.model, stack, beside=grafts, stacked=stacked, below=below)


def _attach(base: FrozenBase, stack: Sequence[Graft]) -> None:
    """Show each graft what is at its sites."""
    slot_of = slots(base, stack)
    for index, graft in enumerate(stack):
        check_sites(base, graft.candidate.sites)
        for wanted in graft.candidate.sites:
            place = place_of(base, wanted, layer_index=slot_of.get((index, wanted.key), 0))
            graft.parts[wanted.key].attach(place)
        graft.to(device=base.model.device)


def _hook(parts: Sequence[Kind | Beside]) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return apply_parts(parts, args, kwargs, output)

    return hook


def apply_parts(parts: Iterable[Kind | Beside], args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
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


def _with_layers_changed(parts: Sequence[Kind | Beside]) -> list[Kind | Beside]:
    """The parts that are applied one after the other: what changes new layers below is handed to these.

    The parts are copies for this composition alone.

    Raises:
        SiteError: They are not the layers that it was trained on.
    """
    kept: list[Kind | Beside] = []
    for part in parts:
        own = part.alone if isinstance(part, Beside) else part
        if own is None or not own.changes_layers:
            kept.append(part)
            continue
        layers = [one for one in kept if isinstance(one, Kind) and one.can_grow]
        own.must_change(sum(one.num_layers for one in layers))
        first = 0
        for one in layers:
            one.be_changed(own, first=first)
            first += one.num_layers
    return kept


def _as_weights(module: nn.Module, parts: Sequence[Kind | Beside]) -> list[Kind] | None:
    """The parts, if all can be computed as part of the module's weight."""
    found = [part.alone if isinstance(part, Beside) else part for part in parts]
    changes = [part for part in found if part is not None and part.is_weight]
    weight: Any = getattr(module, "weight", None)
    plain = type(module) is nn.Linear and type(weight) in (nn.Parameter, Divided) and weight.dtype == torch.float32
    return changes if plain and len(changes) == len(parts) else None


def _with_changed_weight(linear: nn.Linear, changes: Sequence[Kind], x: Tensor) -> Tensor:
    weight: Tensor = linear.weight.whole() if isinstance(linear.weight, Divided) else linear.weight
    bias: Tensor | None = linear.bias
    for part in changes:
        folded = part.fold(weight, bias)
        assert folded is not None  # it is a weight
        weight, bias = folded
    return F.linear(x, weight, bias)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
