import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

import saint.backbones  # noqa: F401 - so that transformers knows our own
from saint import records
from saint.errors import BaseChangedError, BaseModelError
from saint.models import _quantised
from saint.models._divided import Divided
from saint.models._quantised import (
    inner_tensors,
    is_quantised,
    layout,
    must_be_loadable,
    must_understand,
    num_numbers,
    settle,
)
from saint.models._sites import find_sites
from saint.models._structure import linears
from saint.records import BaseIdentity, Quantization, Site

_CHUNK_BYTES = 1 << 24
_UNFIT_DTYPES = {torch.float64}  # grafts compute in float32, so a newborn would not be the identity to the bit
_NOT_IDENTITY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "_commit_hash")


@final
@dataclass(frozen=True)
class FrozenBase:
    """A model whose weights do not move, and the identity that proves it."""

    model: PreTrainedModel
    tokenizer: Any
    """The Hugging Face tokenizer, or None when the model came without one."""
    identity: BaseIdentity
    source: str = ""
    """The folder or hub name it was loaded from; "" for a model that was handed over in memory."""
    revision: str | None = None
    _found: list[Site] = field(default_factory=list, repr=False)

    @cached_property
    def digest(self) -> str:
        """One digest over weights, configuration and tokenizer."""
        return records.digest({part: getattr(self.identity, part) for part in _DIGESTS})

    def sites(self) -> list[Site]:
        """Linear sites in the model's own order, then block sites, insertion points and MLPs.

        Raises:
            BaseModelError: The model has no stack of blocks, or cannot be run on token ids.
        """
        if not self._found:
            self._found.extend(find_sites(self.model))
        return list(self._found)

    @property
    def num_params(self) -> int:
        """Parameters, tied ones counted once."""
        return sum(map(num_numbers, self.model.parameters()))

    @property
    def is_quantised(self) -> bool:
        """Whether a linear map is stored in few bits, so that it cannot be trained or written to."""
        return any(map(is_quantised, linears(self.model).values()))

    @property
    def is_divided(self) -> bool:
        """Whether this process has only a part of some weights, and the rest is other processes'."""
        return any(isinstance(parameter, Divided) for parameter in self.model.parameters())

    def check(self) -> None:
        """Hash everything again.

        Raises:
            BaseChangedError: It is not what was frozen; the message says which part moved.
        """
        found = _identify(self.model, self.tokenizer, self.identity.quantization)
        self.must_be(found, what="the base in memory", remedy="nothing may write to it")

    def must_be(self, other: BaseIdentity, *, what: str, remedy: str) -> None:
        """Refuse an identity that differs from this base's.

        Raises:
            BaseChangedError: Names the part that differs.
        """
        _must_be_same(other, self.identity, what, remedy)

    def must_match(self, recorded: BaseIdentity, *, what: str, remedy: str) -> None:
        """Refuse this base where it is not one that was recorded.

        Args:
            what: This base, for people.

        Raises:
            BaseChangedError: Names the part that differs.
        """
        _must_be_same(self.identity, recorded, what, remedy)


def _must_be_same(found: BaseIdentity, expected: BaseIdentity, what: str, remedy: str) -> None:
    for part, label in _LABELS.items():
        here, there = getattr(found, part), getattr(expected, part)
        if here != there:
            raise BaseChangedError(f"{what} has {label} {_short(here)}, expected {_short(there)}; {remedy}")


_DIGESTS = {"weights": "weights with digest", "config": "a configuration with digest", "tokenizer": "tokenizer"}
_LABELS = {"quantization": "quantization", **_DIGESTS}


def freeze(
    source: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    revision: str | None = None,
    quantize: Quantization | None = None,
) -> FrozenBase:
    """Stop a model from learning and take its identity.

    Args:
        source: A local folder, a hub name, or a Hugging Face model already in memory (which is put in evaluation
            mode and stops requiring gradients). Weights are read from safetensors only.
        tokenizer: The tokenizer of a model in memory; for a folder or name the one that lies beside the weights.
        revision: Branch, tag or commit of a hub name.
        quantize: Store every linear map but the output head as 8-bit integers ("int8"), 4-bit integers ("int4") or
            4-bit NormalFloat ("nf4", as QLoRA does); a model in memory is changed where it lies. Needs the extra
            `quant`.

    Raises:
        BaseModelError: Nothing loadable is there, or it is quantised or to be quantised in a way that is not known.
    """
    name = ""
    if not isinstance(source, nn.Module):
        name = str(source)
        source, tokenizer = _load(name, tokenizer, revision)
    model: Any = source
    if not hasattr(model, "config"):
        raise BaseModelError(f"expected a Hugging Face model with a config, got {type(model).__name__}")
    if unfit := {tensor.dtype for tensor in model.parameters()} & _UNFIT_DTYPES:
        raise BaseModelError(
            f"expected weights in float32, bfloat16 or float16, got {unfit.pop()}; convert the model first"
        )
    must_understand(model)
    model.requires_grad_(requires_grad=False).eval()
    if quantize is not None:
        _quantised.quantize(model, quantize)
    settle(model)
    return FrozenBase(model, tokenizer, _identify(model, tokenizer, quantize), source=name, revision=revision)


def config_and_tokenizer(name: str, *, revision: str | None = None) -> tuple[Any, Any]:
    """What a folder or hub name says of a model, before any of its weights is read; the tokenizer may be None.

    Raises:
        BaseModelError: No model is there.
    """
    _must_be_name_or_folder(name)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise BaseModelError(
            f"{name} holds no model ({first_line}); give a folder that save_pretrained wrote"
        ) from error
    return config, _load_tokenizer(name, revision)


def _must_be_name_or_folder(name: str) -> None:
    folder = Path(name)
    if not folder.is_dir() and (folder.is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise BaseModelError(f"{name} is not a folder; give the folder of a saved model, or a hub name")


def _load(name: str, tokenizer: Any, revision: str | None) -> tuple[nn.Module, Any]:
    _must_be_name_or_folder(name)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        must_be_loadable(config, name)
        loaded: Any = family_of(config).from_pretrained(
            name, revision=revision, use_safetensors=True, dtype="auto", output_loading_info=True
        )
        model, loading = loaded
    except BaseChangedError:  # weights and configuration do not belong together
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise BaseModelError(
            f"{name} could not be loaded as a language model with safetensors weights ({first_line}); "
            "give a folder written by save_pretrained, or a hub name that this machine can reach"
        ) from error
    if missing := sorted(loading["missing_keys"]):  # they would be random numbers
        raise BaseModelError(f"{name} has no weights for {missing[0]}; give a folder that save_pretrained wrote")
    return model, tokenizer or _load_tokenizer(name, revision)


def family_of(config: Any) -> Any:
    """The class of transformers that makes language models of this configuration."""
    return AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM


def _load_tokenizer(name: str, revision: str | None) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError):
        return None  # a base without a tokenizer is allowed: data preparation trains one
    spelling = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    return tokenizer if len(spelling) > 1 else None  # where files are missing, transformers makes up an empty one


def _identify(model: Any, tokenizer: Any, quantization: Quantization | None) -> BaseIdentity:
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_IDENTITY}
    config["architectures"] = [type(model).__name__]  # which saving a model in memory writes into its configuration
    return BaseIdentity(
        weights=records.digest(_weights(model)),
        config=records.digest(config),
        tokenizer=records.tokenizer_digest(tokenizer),
        quantization=quantization,
    )


def _weights(model: nn.Module) -> dict[str, Any]:
    """Tensor name -> dtype, shape and SHA-256 of its bytes; tied tensors are read once."""
    seen: dict[tuple[Any, ...], str] = {}
    listed = {}
    for name, tensor in model.state_dict().items():
        if parts := inner_tensors(tensor):  # of a quantised weight
            inside = {
                part: [str(inner.dtype), list(inner.shape), tensor_digest(inner)] for part, inner in parts.items()
            }
            listed[name] = {"dtype": layout(tensor), "shape": list(tensor.shape), "sha256": records.digest(inside)}
            continue
        if isinstance(tensor, Divided):  # as it is when all processes' parts are put together, one weight at a time
            same: tuple[Any, ...] = (tensor.number,)
        else:
            same = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if same not in seen or tensor.numel() == 0:
            seen[same] = tensor_digest(tensor.whole() if isinstance(tensor, Divided) else tensor)
        listed[name] = {"dtype": str(tensor.dtype), "shape": list(tensor.shape), "sha256": seen[same]}
    return listed


def tensor_digest(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's bytes in row-major order, read in pieces of 16 MiB wherever the tensor lives."""
    total = hashlib.sha256()
    raw = tensor.detach().reshape(-1).view(torch.uint8)
    for start in range(0, raw.numel(), _CHUNK_BYTES):
        total.update(raw[start : start + _CHUNK_BYTES].cpu().numpy().data)
    return total.hexdigest()


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
