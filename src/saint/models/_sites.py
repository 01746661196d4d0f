"""Where grafts can attach, and what each place does, read off one forward pass over a few tokens.

Values are followed from one linear map to the next: what meets in an attention is q, k and v, what comes out of
it feeds o, what an activation has touched feeds down. So no list of module names is needed, and fused
projections get fused roles (qkv, gate_up).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from saint.errors import BaseModelError
from saint.models._quantised import num_numbers
from saint.models._structure import block_stacks, linears, share_weights, sizes
from saint.records import Site

_NUM_PROBE_TOKENS = 4
# fmt: off
_ACTIVATIONS = frozenset((
    "celu", "elu", "erf", "gelu", "glu", "hardsigmoid", "hardswish", "leaky_relu", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "softplus", "tanh",
))
# fmt: on
_PRODUCTS = frozenset(("mul", "multiply", "__mul__", "__rmul__"))
_MATRIX_PRODUCTS = frozenset(("matmul", "__matmul__", "bmm", "baddbmm", "einsum"))
_ATTENTION_LETTERS = "qkv"
_MLP_ROLES = ("up", "gate", "gate_up", "down")


def find_sites(model: nn.Module) -> list[Site]:
    """Linear sites in the model's own order, then block sites, insertion points and MLPs.

    Raises:
        BaseModelError: The model has no stack of blocks, or cannot be run on token ids.
    """
    copy = share_weights(model)
    stacks = block_stacks(copy)
    trace = _Trace(copy, stacks)
    trace.run()
    if not trace.widths:
        raise BaseModelError(
            f"{type(model).__name__} has no stack of Transformer blocks that keep the width of their input; "
            "expected a decoder-only or encoder-decoder language model"
        )
    found = []
    for name, linear in linears(copy).items():
        d_in, d_out = sizes(linear)
        stack, depth = _place(name, trace.widths)
        role = trace.roles.get(name, "other")
        stream = trace.stream(stack or name)
        found.append(Site(sort="linear", module=name, role=role, depth=depth, stream=stream, d_in=d_in, d_out=d_out))
    sorts: tuple[Literal["block", "insertion"], ...] = ("block", "insertion")
    for sort in sorts:
        for block, width in trace.widths.items():
            stack, _, index = block.rpartition(".")
            stream = trace.stream(stack)
            site = Site(sort=sort, module=block, role=sort, depth=int(index), stream=stream, d_in=width, d_out=width)
            if sort == "insertion":
                site = replace(site, num_params=sum(map(num_numbers, copy.get_submodule(block).parameters())))
            found.append(site)
    return [*found, *_mlps(found)]


def _mlps(found: Iterable[Site]) -> Iterator[Site]:
    """The module of each block that holds just its way up and down, where the model has such a module."""
    for block in (site for site in found if site.sort == "block"):
        inside = [site for site in found if site.sort == "linear" and site.module.startswith(f"{block.module}.")]
        maps = [site for site in inside if site.role in _MLP_ROLES]
        module = _common(site.module for site in maps)
        holds_others = any(site.module.startswith(f"{module}.") and site.role not in _MLP_ROLES for site in inside)
        roles = [site.role for site in maps]
        if roles.count("down") == 1 and module != block.module and not holds_others:
            gated = "gate" in roles or "gate_up" in roles
            yield replace(block, sort="mlp", module=module, role="mlp", gated=gated)


def _common(names: Iterable[str]) -> str:
    """The innermost module that holds all of them."""
    paths = [name.split(".")[:-1] for name in names]
    together = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in together)


def _place(name: str, blocks: Mapping[str, int]) -> tuple[str, int]:
    """The stack and index of the block that `name` is in; ("", -1) outside."""
    for block in blocks:
        if name.startswith(f"{block}."):
            stack, _, index = block.rpartition(".")
            return stack, int(index)
    return "", -1


@final
@dataclass(frozen=True, slots=True)
class _Flow:
    """What is known of a value: the linear maps it was computed from, and what happened on the way."""

    linears: frozenset[str] = frozenset()
    activated: frozenset[str] = frozenset()
    product: tuple["_Flow", "_Flow"] | None = None
    scores: tuple["_Flow", "_Flow"] | None = None
    """A product that went through a softmax, so that the next one is attention's."""
    mixed: bool = False
    cross: bool = False
    encoded: bool = False


_ATTRIBUTE = "_saint_flow"


def _flow(value: Any) -> _Flow:
    return getattr(value, _ATTRIBUTE, _Flow())


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


@final
class _Trace(TorchFunctionMode):
    """Runs a model once and learns what its linear maps are for."""

    def __init__(self, model: Any, stacks: Mapping[str, nn.ModuleList]) -> None:
        super().__init__()
        self._model = model
        self._stacks = stacks
        self._d_out = {name: sizes(linear)[1] for name, linear in linears(model).items()}
        self._encoder = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else None
        self._in_block = False
        self.roles: dict[str, str] = {}
        self.widths: dict[str, int] = {}

    def stream(self, module: str) -> Literal["decoder", "encoder"]:
        inside = (
            any(m is self._encoder for m in _ancestors(self._model, module)) if self._encoder is not None else False
        )
        return "encoder" if inside else "decoder"

    @torch.no_grad()
    def run(self) -> None:
        with ExitStack() as attached:
            for name, linear in linears(self._model).items():
                attached.enter_context(linear.register_forward_hook(self._after_linear(name)))
            for stack, blocks in self._stacks.items():
                for index, block in enumerate(blocks):
                    attached.enter_context(block.register_forward_pre_hook(self._before_block, with_kwargs=True))
                    hook = self._after_block(f"{stack}.{index}")
                    attached.enter_context(block.register_forward_hook(hook, with_kwargs=True))
            if self._encoder is not None:
                attached.enter_context(self._encoder.register_forward_hook(_mark_encoded))
            logits = self._forward()
        for name in _flow(logits).linears:
            self.roles[name] = "head"

    def _forward(self) -> Tensor:
        tokens = torch.arange(_NUM_PROBE_TOKENS, device=next(self._model.parameters()).device)[None]
        inputs = {"input_ids": tokens, "use_cache": False}
        if self._encoder is not None:
            inputs["decoder_input_ids"] = tokens
        try:
            with self:
                logits: Tensor = self._model(**inputs).logits
        except Exception as error:
            raise BaseModelError(
                f"{type(self._model).__name__} could not be run on {_NUM_PROBE_TOKENS} token ids ({error}); "
                "expected a Hugging Face language model that answers with logits"
            ) from error
        return logits

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        flows = [flow for tensor in _tensors((args, kwargs)) if (flow := _flow(tensor)) != _Flow()]
        if flows:
            flow = self._follow(getattr(func, "__name__", ""), flows, args, kwargs)
            for tensor in _tensors(result):
                setattr(tensor, _ATTRIBUTE, flow)
        return result

    def _follow(self, name: str, flows: list[_Flow], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Flow:
        if name == "scaled_dot_product_attention":
            query, key, value = [*args[:3], *(kwargs[k] for k in ("query", "key", "value") if k in kwargs)]
            return self._attend(_flow(query), _flow(key), _flow(value))
        if name in _MATRIX_PRODUCTS and len(flows) == 2:
            left, right = flows
            if left.scores is not None:
                return self._attend(*left.scores, right)
            return replace(_union(flows), product=(left, right))
        if name in _PRODUCTS and len(flows) == 2:
            self._gate(*flows, width=max(tensor.shape[-1] for tensor in _tensors(args)))
        union = _union(flows)
        if name == "softmax":
            return replace(union, scores=union.product)
        return replace(union, activated=union.linears) if name in _ACTIVATIONS else union

    def _attend(self, query: _Flow, key: _Flow, value: _Flow) -> _Flow:
        cross = key.encoded and not query.encoded
        parts = (query.linears, key.linears, value.linears)
        for name in frozenset().union(*parts):
            letters = "".join(letter for letter, part in zip(_ATTENTION_LETTERS, parts, strict=True) if name in part)
            self.roles.setdefault(name, f"cross_{letters}" if cross else letters)
        return _Flow(mixed=True, cross=cross, encoded=query.encoded)

    def _gate(self, one: _Flow, other: _Flow, *, width: int) -> None:
        """An activated value times one that is not: the first is the gate, unless one map gave both, undivided."""
        gate, up = (one, other) if one.activated else (other, one)
        if not gate.activated or up.activated:
            return
        for name in gate.linears ^ up.linears:
            self.roles.setdefault(name, "gate" if name in gate.linears else "up")
        for name in gate.linears & up.linears:
            if width < self._d_out[name]:  # halves of one projection; else it is an activation such as x * tanh(x)
                self.roles.setdefault(name, "gate_up")

    def _after_linear(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        stands_outside = not any(name.startswith(f"{stack}.") for stack in self._stacks)

        def hook(_module: nn.Module, args: Any, output: Tensor) -> None:
            if stands_outside and self._in_block:  # one that the blocks share: it passes on what it reads
                return
            came = _flow(args[0])
            if came.mixed:
                self.roles.setdefault(name, "cross_o" if came.cross else "o")
            elif came.activated:
                for before in came.activated:
                    self.roles.setdefault(before, "up")
                self.roles.setdefault(name, "down")
            setattr(output, _ATTRIBUTE, _Flow(linears=frozenset((name,)), encoded=came.encoded))

        return hook

    def _before_block(self, _module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._in_block = True
        for tensor in _tensors((args, kwargs)):  # what a gate before the first block did is not that block's business
            setattr(tensor, _ATTRIBUTE, _Flow(encoded=_flow(tensor).encoded))

    def _after_block(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            self._in_block = False
            before, after = next(_tensors((args, kwargs)), None), next(_tensors(output), None)
            if before is not None and after is not None and before.shape == after.shape:
                self.widths[name] = after.shape[-1]
            for tensor in _tensors(output):  # what happened inside a block is not the next block's business
                setattr(tensor, _ATTRIBUTE, _Flow(encoded=_flow(tensor).encoded))

        return hook


def _union(flows: list[_Flow]) -> _Flow:
    return _Flow(
        linears=frozenset().union(*(flow.linears for flow in flows)),
        activated=frozenset().union(*(flow.activated for flow in flows)),
        product=next((flow.product for flow in flows if flow.product is not None), None),
        scores=next((flow.scores for flow in flows if flow.scores is not None), None),
        mixed=any(flow.mixed for flow in flows),
        cross=any(flow.cross for flow in flows),
        encoded=any(flow.encoded for flow in flows),
    )


def _mark_encoded(_module: nn.Module, _args: Any, output: Any) -> None:
    for tensor in _tensors(output if isinstance(output, tuple) else list(output.values())):
        setattr(tensor, _ATTRIBUTE, replace(_flow(tensor), encoded=True))


def _ancestors(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules on the way from the root to `name`, itself included."""
    module: Any = model
    for part in name.split("."):
        module = getattr(module, part)
        yield module
