"""Bases whose linear maps are stored in few bits: how they come about, what they hold, what numbers they stand for.

int8 and int4 are torchao's, whose weights are tensors of a class of their own; nf4 is that of bitsandbytes, whose
weights are packed bytes with a state beside them. They are known by what they are: neither is imported unless used.
"""

import importlib
import warnings
from math import gcd
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from saint.errors import BaseModelError
from saint.models._divided import Divided
from saint.models._structure import Linear, linears, weight_of
from saint.records import Quantization

_GROUP = 32  # weights that share one scale in int4
_BLOCK = 64  # and in nf4
_READABLE = {"bitsandbytes"}  # methods of transformers whose folders are frozen as they are
_MARKS = ("hf_quantizer", "is_quantized", "is_loaded_in_4bit", "quantization_method", "quantization_config")
"""What transformers leaves on a model that it has quantised, and on its configuration."""
_REMEDY = "give the model in full precision, and say quantize='int8', 'int4' or 'nf4'"


def quantize(model: Any, how: Quantization) -> None:
    """Store every linear map but the output head in few bits, in place; what is written there is gone.

    What a model says it computes in float32 whatever the rest does (T5's `wo`) is left as it is.

    Raises:
        BaseModelError: The package is not installed, or the model has linear maps that cannot be quantised.
    """
    if any(map(is_quantised, linears(model).values())):
        raise BaseModelError("the model is quantised already; leave quantize out, or give it in full precision")
    kept = {id(model.get_output_embeddings())}
    kept_names = {*(model._keep_in_fp32_modules or ()), *(model._keep_in_fp32_modules_strict or ())}
    chosen = {
        name: linear
        for name, linear in linears(model).items()
        if id(linear) not in kept and not kept_names.intersection(name.split("."))
    }
    for name, linear in chosen.items():
        if isinstance(linear, Conv1D):
            raise BaseModelError(
                f"{name} is a Conv1D, which keeps its weight transposed and cannot be quantised; leave quantize out"
            )
        if how == "nf4":
            _must_be_whole_blocks(name, linear, _BLOCK)
    if how == "nf4":
        _to_nf4(model, chosen)
    else:
        _to_integers(model, chosen, how)


def _to_integers(model: nn.Module, chosen: dict[str, Any], how: Quantization) -> None:
    torchao = _required("torchao.quantization", "torchao", how)
    if how == "int8":
        torchao.quantize_(model, torchao.Int8WeightOnlyConfig(), lambda _module, name: name in chosen)
        return
    granularity = _required("torchao.quantization.granularity", "torchao", how)
    for group in sorted({gcd(_GROUP, linear.in_features) for linear in chosen.values()}):
        four_bits: Any = torch.int4  # type: ignore[attr-defined]
        settings = torchao.IntxWeightOnlyConfig(weight_dtype=four_bits, granularity=granularity.PerGroup(group))
        alike = {name for name, linear in chosen.items() if gcd(_GROUP, linear.in_features) == group}
        torchao.quantize_(model, settings, lambda _module, name, alike=alike: name in alike)


def _to_nf4(model: nn.Module, chosen: dict[str, Any]) -> None:
    """NormalFloat of 4 bits in blocks of 64, their scales in 8 bits (Dettmers et al. 2023, arXiv:2305.14314)."""
    bnb = _required("bitsandbytes.nn", "bitsandbytes", "nf4")
    for name, linear in chosen.items():
        settings = {"quant_type": "nf4", "compress_statistics": True}
        weight, bias = linear.weight, linear.bias
        map_of_nf4 = bnb.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=weight.dtype, device="meta", **settings
        )
        map_of_nf4.weight = bnb.Params4bit(weight.detach(), requires_grad=False, module=map_of_nf4, **settings)
        map_of_nf4.bias = bias
        model.set_submodule(name, map_of_nf4.to(weight.device).eval())
    settle(model)


def settle(model: nn.Module) -> None:
    """Keep bitsandbytes from rewriting 4-bit weights where they lie.

    On processors with AVX512-BF16 its first forward pass without gradients packs the weights into another layout and
    rounds their scales to bfloat16: the base would no longer be what was frozen.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False


def is_quantised(linear: nn.Module) -> bool:
    """Whether the map's weight is in a format that is understood here and is not plain numbers."""
    return _is_torchao(linear.weight) or _is_nf4(linear.weight)


def must_understand(model: nn.Module) -> None:
    """Refuse weights in a format that nothing here can read.

    Raises:
        BaseModelError: Names the module.
    """
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if _is_nf4(weight):
            _must_be_whole_blocks(name, module, weight.quant_state.blocksize)
        if "qweight" in {**module._parameters, **module._buffers}:  # GPTQ, AWQ and their kin
            found = "packed integers"
        elif isinstance(module, Linear) and not (is_quantised(module) or _is_plain(weight)):
            found = f"{type(weight).__name__} of {getattr(weight, 'dtype', None)}"
        else:
            continue
        raise BaseModelError(
            f"{name} is {type(module).__name__} with a weight of {found}, on which grafts cannot stand; {_REMEDY}"
        )


def _must_be_whole_blocks(name: str, linear: Any, block: int) -> None:
    """Refuse what bitsandbytes 0.50 reads with the wrong scales on a CPU: rows that are no whole number of blocks."""
    if linear.in_features % block:
        raise BaseModelError(
            f"{name} has {linear.in_features} inputs, and nf4 needs a multiple of {block} to be read right; "
            "quantize to int8 or int4 instead"
        )


def must_be_loadable(config: Any, name: str) -> None:
    """Refuse a folder that says it is quantised in a way that could not be read, before transformers tries.

    Raises:
        BaseModelError: The method is not known, or its package is not installed.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    plain = settings if isinstance(settings, dict) else settings.to_dict()
    if (method := str(plain.get("quant_method"))) not in _READABLE:
        raise BaseModelError(f"{name} is quantised by {method}, on which grafts cannot stand; {_REMEDY}")
    _required("bitsandbytes.nn", "bitsandbytes", name)


def float_weight(linear: nn.Module) -> Float[Tensor, "d_out d_in"]:
    """The weight to read: a view where it is plain numbers, else a new tensor of the numbers that it stands for.

    One that is divided among processes is put together.

    Writing goes through `weight_of`, which refuses a quantised weight.
    """
    weight: Any = linear.weight
    if isinstance(weight, Divided):
        return weight.whole().T if isinstance(linear, Conv1D) else weight.whole()
    if _is_torchao(weight):
        return weight.detach().dequantize()  # type: ignore[no-any-return]
    if _is_nf4(weight):
        functional = importlib.import_module("bitsandbytes.functional")
        return functional.dequantize_4bit(weight.data, weight.quant_state)  # type: ignore[no-any-return]
    return weight_of(linear).detach()


def dequantize(model: Any) -> None:
    """Put plain linear maps with the same numbers in the place of quantised ones."""
    for name, linear in linears(model).items():
        if not is_quantised(linear):
            continue
        weight = float_weight(linear)
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        plain.weight = nn.Parameter(weight, requires_grad=False)
        plain.bias = linear.bias
        model.set_submodule(name, plain.eval())
    for owner in (model, model.config):
        for mark in _MARKS:
            vars(owner).pop(mark, None)


def num_numbers(parameter: Tensor) -> int:
    """How many weights a parameter stands for, however they are packed."""
    state: Any = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def inner_tensors(tensor: Tensor) -> dict[str, Tensor]:
    """The plain tensors that a tensor of torchao consists of, by name; empty for a plain one."""
    if not _is_torchao(tensor):
        return {}
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    parts = {name: getattr(tensor, name) for name in names}
    nested = {name: inner_tensors(part) or {"": part} for name, part in parts.items()}
    return {f"{name}.{inner}".rstrip("."): part for name, inside in nested.items() for inner, part in inside.items()}


def layout(tensor: Tensor) -> str:
    """How the inner tensors of a torchao tensor make up its numbers."""
    _, settings = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    return f"{type(tensor).__name__} {sorted((key, str(value)) for key, value in settings.items())}"


def _is_torchao(weight: Any) -> bool:
    return type(weight).__module__.partition(".")[0] == "torchao" and hasattr(weight, "dequantize")


def _is_nf4(weight: Any) -> bool:
    return type(weight).__name__ == "Params4bit"


def _is_plain(weight: Any) -> bool:
    return type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point()


def _required(module: str, package: str, what: str) -> Any:
    try:
        with warnings.catch_warnings():  # what a package says about its own imports is not the user's business
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise BaseModelError(f"{what} needs the package {package}: pip install 'saint-g[quant]'") from error
