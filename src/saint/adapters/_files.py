import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, final

from safetensors.torch import load
from torch import Tensor

from saint import records
from saint.adapters._fields import check_fields
from saint.errors import AdapterError, GraftFileError
from saint.weights import Caps, check_weights, read_weights

GRAFT_TYPE = "SAINT_GRAFT"
"""What PEFT calls the method that `saint.peft` adds to it."""
GRAFT_LAYER = "saint_graft"
"""The child of a module that holds its grafts' parts. PEFT takes what has the method's prefix, the same with an
underscore, in its name for the inside of such a child."""
GRAFT_PARTS = "saint_graft_parts"
"""What that child calls the parts; transformers puts the adapter's name after the word with the prefix."""
GRAFT_SCHEMA = 1
"""The version of that method's configuration and tensors."""

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
"""The file of an adapter's tensors."""
_PICKLE_NAME = "adapter_model.bin"
PREFIX = "base_model.model."
"""What PEFT puts before every tensor's name: its two wrappers around the model."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """A PEFT adapter as it lies in a folder."""

    folder: Path
    config: Mapping[str, Any]
    """What `adapter_config.json` says."""
    tensors: Mapping[str, Tensor]
    """Name in the file, PEFT's prefix taken off -> tensor, all finite."""
    files: Mapping[str, str]
    """File -> SHA-256 of its bytes."""

    @property
    def method(self) -> str:
        """The PEFT method, in PEFT's own capitals."""
        return str(self.config.get("peft_type"))


def read_adapter(folder: Path, *, caps: Caps | None = None) -> Adapter:
    """Read an adapter that `save_pretrained` wrote, weights from safetensors only.

    Each file is read once: what is checked is what was hashed and what is used.

    Args:
        caps: The most that the file of weights may be or hold.

    Raises:
        AdapterError: Something is missing, unreadable, not finite, or above a cap.
    """
    try:
        _check_folder(folder)
        config, weights = (folder / CONFIG_NAME).read_bytes(), read_weights(folder / WEIGHTS_NAME, caps=caps)
    except GraftFileError as error:
        raise AdapterError(f"{folder / WEIGHTS_NAME}: {error}") from error
    except OSError as error:
        raise AdapterError(f"{folder} cannot be read ({error}); give a folder that can be") from error
    files = {CONFIG_NAME: sha256(config).hexdigest(), WEIGHTS_NAME: sha256(weights).hexdigest()}
    tensors = _read_tensors(folder / WEIGHTS_NAME, weights, caps)
    return Adapter(folder=folder, config=_read_config(folder / CONFIG_NAME, config), tensors=tensors, files=files)


def check_adapter_file(folder: Path) -> None:
    """See to it that PEFT may open the weights in `folder`; a folder without any is fine.

    Raises:
        AdapterError: They are a pickle, or no strict safetensors.
    """
    file = folder / WEIGHTS_NAME
    if file.exists():
        try:
            check_weights(read_weights(file))
        except (GraftFileError, OSError) as error:
            raise AdapterError(f"{file}: {error}") from error
    elif (folder / _PICKLE_NAME).is_file():
        raise _pickled(folder)


def _pickled(folder: Path) -> AdapterError:
    return AdapterError(
        f"{folder} has its weights in {_PICKLE_NAME}, a pickle, which could run code; load it where you trust it and "
        "write it again with save_pretrained(..., safe_serialization=True)"
    )


def _check_folder(folder: Path) -> None:
    """Whether both files are there."""
    if not (folder / CONFIG_NAME).is_file():
        raise AdapterError(
            f"{folder} has no {CONFIG_NAME}, so it holds no PEFT adapter; give the folder that save_pretrained wrote"
        )
    if not (folder / WEIGHTS_NAME).is_file():
        if (folder / _PICKLE_NAME).is_file():
            raise _pickled(folder)
        raise AdapterError(f"{folder} has no {WEIGHTS_NAME}; give the folder that save_pretrained wrote")


def _read_config(file: Path, content: bytes) -> dict[str, Any]:
    """What the file says, each field of a type that PEFT writes."""
    try:
        config = json.loads(content.decode(), parse_constant=_refuse)
        records.to_canonical(config).encode()  # it is going to be kept in a ledger
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{file} cannot be read ({error}); fetch the adapter again") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise AdapterError(f"{file} does not name a peft_type; give an adapter that PEFT wrote")
    check_fields(config, file)
    return config


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def _read_tensors(file: Path, content: bytes, caps: Caps | None) -> dict[str, Tensor]:
    try:
        checked = check_weights(content, caps=caps)
    except GraftFileError as error:
        raise AdapterError(f"{file}: {error}") from error
    for name in checked.tensors:
        if not name.startswith(PREFIX):
            raise AdapterError(f"{file} has a tensor {name!r}, and PEFT's begin with {PREFIX!r}")
    return {name.removeprefix(PREFIX): tensor for name, tensor in sorted(load(content).items())}
