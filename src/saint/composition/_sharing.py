"""One storage for tensors that several experts have alike, found by what is in them and not by their names."""

from collections import defaultdict
from typing import final

import torch
from torch import Tensor, nn

from saint.backbones import MixtureForCausalLM
from saint.models import tensor_digest

_Sort = tuple[type[Tensor], torch.dtype, torch.Size]


@final
class Sharing:
    """Holds equal tensors of a mixture's experts once, as the experts come in one after the other."""

    def __init__(self, mixture: MixtureForCausalLM) -> None:
        self._mixture = mixture
        self._digests: dict[str, str] = {}

    def share(self) -> None:
        """Share what is there by now, and say so in the configuration; no value changes.

        Only tensors of one number format and shape are read for it, each once. Vectors are left alone, for they are
        small and often alike by chance, as the scales of untrained norms are.
        """
        tensors = {name: one for name, one in self._mixture.state_dict(keep_vars=True).items() if _is_there(name, one)}
        alike: dict[_Sort, list[str]] = defaultdict(list)
        for name, tensor in tensors.items():
            alike[type(tensor), tensor.dtype, tensor.shape].append(name)
        shared: dict[str, str] = {}
        for names in alike.values():
            firsts: dict[str, str] = {}
            for name in names if len(names) > 1 else ():
                first = firsts.setdefault(self._digest(name, tensors[name]), name)
                if first != name:
                    shared[name] = first
                    _put(self._mixture, name, tensors[first])
        self._mixture.config.shared = shared
        self._mixture.know_twins()

    def _digest(self, name: str, tensor: Tensor) -> str:
        if tensor.dim() < 2:
            return str(id(tensor))  # only what is one already
        if name not in self._digests:
            self._digests[name] = tensor_digest(tensor)
        return self._digests[name]


def _is_there(name: str, tensor: Tensor) -> bool:
    """Whether it is an expert's, and of one that has come in."""
    return name.startswith("experts.") and not tensor.is_meta and tensor.numel() > 0


def _put(mixture: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, attribute = name.rpartition(".")
    module = mixture.get_submodule(owner)
    own: dict[str, Tensor | None] = module._parameters if attribute in module._parameters else module._buffers  # type: ignore[assignment]
    own[attribute] = tensor
