"""Weights of a whole model that was trained further, in a file beside the registry's record."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from saint.errors import StorageError
from saint.models import FrozenBase, share_weights

CONTROLS = "controls"
"""The folder below that of work in progress."""


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the parameters of a model, whole or not at all.

    Raises:
        StorageError: The disk refused.
    """
    draft = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().contiguous() for name, tensor in model.named_parameters()}, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path} was not written ({error}); make room, then run the command again") from error


@torch.no_grad()
def with_weights(base: FrozenBase, path: Path, strength: float) -> nn.Module:
    """The base with its weights moved by `strength` of the way to those in a file; the rest is shared."""
    moved = load_file(path)
    model = share_weights(base.model)
    for name, parameter in base.model.named_parameters():
        module, _, leaf = name.rpartition(".")
        place = nn.Parameter(torch.lerp(parameter, moved[name], strength), requires_grad=False)
        setattr(model.get_submodule(module), leaf, place)
    model.tie_weights()
    return model
