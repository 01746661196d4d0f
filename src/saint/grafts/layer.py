"""Whole new Transformer layers after a block."""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers.cache_utils import Cache, EncoderDecoderCache
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Call, Kind, NewLayer, Place
from saint.grafts._head import HeadChange
from saint.records import Site, SiteSort


@final
class Layer(Kind):
    """f(h), with f new layers of the architecture of the block before them; what they add is zero at birth.

    The way of LLaMA Pro: the projections through which f writes to the residual stream start at zero, biases too; the
    rest is a copy of the neighbour's ("copy"), or has the neighbour's norms and biases and random matrices that spread
    as its own do ("random"). All of its weights train, in float32.

    At the output head it is a change of every entry of its weight, zero at birth, for layers at the top of a model that
    learn together with the head (Bochkov 2025, arXiv:2507.07129).

    The strength multiplies those projections, so that at any strength it is a layer that a checkpoint can hold; what it
    adds is in proportion to the strength to first order. It needs a block that adds what it computes to what it
    reads, as pre-norm architectures do. In a key-value cache each has a slot of its own, after the base's.

    Its number of effective parameters is an upper bound: that of its parameters. Those of a layer are redundant in ways
    that depend on the architecture, such as scales between values and the output projection.
    """

    reference: ClassVar[str] = "arXiv:2401.02415"
    formula: ClassVar[str] = "blocks times those of the block before it"
    attaches_to: ClassVar[SiteSort] = "insertion"
    can_fold: ClassVar[bool] = False
    can_stack: ClassVar[bool] = False  # it answers with what else the block was called with
    can_grow: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"init": "random"}, {"blocks": 2})

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """How many layers, and where their weights start from."""

        init: Literal["copy", "random"] = "copy"
        blocks: int = 1
        """New layers, one after the other; from 1."""
        head_bias: bool = False
        """Whether what it is at the output head changes a bias too; without effect elsewhere."""

        def __post_init__(self) -> None:
            """Refuse no layer."""
            if self.blocks < 1:
                raise ConfigError(f"blocks is {self.blocks}; it must be at least 1")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self._key = site.key
        self._init, self._num = options.init, options.blocks
        self.flat = nn.Parameter(torch.zeros(options.blocks * site.num_params))
        self._shapes: dict[str, torch.Size] = {}
        self._writers: frozenset[str] = frozenset()
        self._layers: tuple[nn.Module, ...] = ()  # in a tuple, so that they are no part of the graft
        self._changes: tuple[tuple[Kind, int], ...] = ()
        self._stream = ""
        self._slot, self._slot_before = 0, 0

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.blocks * site.num_params

    @override
    @classmethod
    def at(cls, site: Site) -> type[Kind]:
        return HeadChange if site.sort == "linear" and site.role == "head" else cls

    @property
    @override
    def num_layers(self) -> int:
        return self._num

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.008

    @override
    def attach(self, place: Place) -> None:
        parameters = dict(place.module.named_parameters())
        if any(type(weight) is not nn.Parameter or not weight.is_floating_point() for weight in parameters.values()):
            raise SiteError(
                f"a new layer at {self._key} would be built as the block there, whose weights are quantised, "
                "or divided among processes; expected plain numbers: take the base as it is, or a kind for linear sites"
            )
        self._shapes = {name: weight.shape for name, weight in parameters.items()}
        self._writers = frozenset(f"{name}.{part}" for name in place.outputs for part in ("weight", "bias"))
        slots = range(place.layer_index, place.layer_index + self._num)
        self._layers = tuple(_without_weights(place.module, slot) for slot in slots)
        self._stream = next(iter(inspect.signature(place.module.forward).parameters))
        self._slot = place.layer_index
        indices: list[Any] = [m.layer_idx for m in place.module.modules() if hasattr(m, "layer_idx")]
        self._slot_before = indices[0] if indices else place.layer_index

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.attach(place)
        neighbour = {name: weight.detach().float() for name, weight in place.module.named_parameters()}
        assert place.read_call is not None  # every newborn is shown its base
        self._must_add_to_the_stream(_flattened(neighbour.values()), place.read_call())
        self.put([self._started(neighbour, generator) for _ in range(self._num)], silent=True)

    def _started(self, neighbour: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of one new layer, by name, before what writes to the stream is set to zero."""
        start = dict(neighbour)
        for name, weight in neighbour.items() if self._init == "random" else ():
            if weight.ndim > 1 and name not in self._writers:
                drawn = torch.randn(weight.shape, generator=generator)
                start[name] = drawn.to(weight.device) * weight.std(correction=0)
        return start

    @torch.no_grad()
    def put(self, layers: Sequence[Mapping[str, Tensor]], *, silent: bool) -> None:
        """Give each new layer the weights of a layer of that architecture; it was attached before.

        Args:
            layers: For each its parameters by the names that they have in the block before it.
            silent: Whether what writes to the residual stream is zero instead, so that nothing is changed.
        """
        pieces = [
            torch.zeros(shape, device=self.flat.device) if silent and name in self._writers else layer[name]
            for layer in layers
            for name, shape in self._shapes.items()
        ]
        self.flat.copy_(_flattened(pieces))

    @override
    def forward(self, x: Float[Tensor, "*batch d"], y: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return self.answer(x, y, (x,), {})

    @override
    def answer(self, x: Tensor, y: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        for layer, weights in zip(self._layers, self.weights(), strict=True):
            y = self._run(layer, weights, y, (args, kwargs))
        return y

    def weights(self) -> list[dict[str, Tensor]]:
        """Of each of its layers, by name: strength and what grafts above change of them included."""
        found = [self._named(flat, self.strength) for flat in self.flat.chunk(self._num)]
        for above, first in self._changes:
            found = above.change_layers(found, first=first)
        return found

    @override
    def be_changed(self, above: Kind, *, first: int) -> None:
        self._changes = (*self._changes, (above, first))

    @override
    def growth(self) -> NewLayer:
        first, *further = (self._named(flat, self.strength) for flat in self.flat.detach().chunk(self._num))
        return NewLayer(weights=first, further=tuple(further))

    def _named(self, flat: Float[Tensor, " params"], strength: Tensor | float) -> dict[str, Tensor]:
        """The layer's weights by name; a strength of 1 or 0 and weights of zero stay what they are to the bit."""
        pieces = flat.split([shape.numel() for shape in self._shapes.values()])
        named = {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}
        return {name: strength * weight if name in self._writers else weight for name, weight in named.items()}

    def _run(self, layer: nn.Module, weights: dict[str, Tensor], y: Tensor, call: Call) -> Tensor:
        """One layer on `y`, with what else the block before it was called with."""
        args, kwargs = call
        for cache in _caches((*args, *kwargs.values())):
            _make_room(cache, self._slot + self._layers.index(layer), self._slot_before)
        further = tuple(_cast(value, y.dtype) for value in args[1:])
        named = {name: _cast(value, y.dtype) for name, value in kwargs.items() if name != self._stream}
        output = functional_call(layer, weights, (y, *further), named)
        changed: Tensor = output[0] if isinstance(output, tuple) else output
        return changed

    def _must_add_to_the_stream(self, flat: Tensor, call: Call) -> None:
        """Refuse a block that is not the identity once its output projections are zero, or nearly so.

        What a post-norm block passes on is normalised, and some blocks normalise what they add: its size then does not
        follow the projections. Tried with the block's own weights on what it reads in the base.
        """
        args, kwargs = call
        y = (args[0] if args else kwargs[self._stream]).float()
        none, little, whole = (
            float((self._run(self._layers[0], self._named(flat, strength), y, call) - y).abs().mean())
            for strength in (0.0, 0.1, 1.0)
        )
        if none > 0 or little > whole / 3:
            raise SiteError(
                f"a new layer at {self._key} would not start as the identity: the block there does not add its output "
                "projections' answers to what it reads as they are; leave that site out, or take kind block"
            )


def _flattened(weights: Iterable[Tensor]) -> Float[Tensor, " params"]:
    return torch.cat([weight.flatten() for weight in weights])


def _without_weights(block: nn.Module, layer_index: int) -> nn.Module:
    """A copy of `block` that has its buffers, no weights and no hooks, with its own place in a key-value cache."""
    memo: dict[int, Any] = {id(weight): nn.Parameter(weight.detach().to("meta")) for weight in block.parameters()}
    layer = copy.deepcopy(block, memo | {id(buffer): buffer for buffer in block.buffers()})
    inside: list[Any] = list(layer.modules())
    for module in inside:
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        if hasattr(module, "layer_idx"):
            module.layer_idx = layer_index
    return layer


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Masks, position embeddings and the like in the layer's dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return tuple(_cast(inner, dtype) for inner in value) if isinstance(value, tuple) else value


def _caches(values: Iterable[Any]) -> Iterator[Cache]:
    """The key-value caches among the arguments of a block."""
    for value in values:
        if isinstance(value, EncoderDecoderCache):
            yield from (value.self_attention_cache, value.cross_attention_cache)
        elif isinstance(value, Cache):
            yield value


def _make_room(cache: Cache, slot: int, slot_before: int) -> None:
    """Give the layer a slot like its neighbour's: transformers sizes a cache by the base's configuration."""
    if slot_before >= len(cache.layers):
        return  # the block before it keeps nothing there
    slots: list[Any] = cache.layers
    while len(slots) <= slot:
        slots.append(_emptied(slots[slot_before]))
    if not slots[slot].is_initialized:  # it may have been put there for a layer of another sort
        slots[slot] = _emptied(slots[slot_before])


def _emptied(before: Any) -> Any:
    fresh = copy.copy(before)
    fresh.keys = fresh.values = None
    fresh.is_initialized = False
    if hasattr(fresh, "cumulative_length"):  # a number or a tensor; the neighbour's is not written to
        fresh.cumulative_length = before.cumulative_length * 0
    return fresh
