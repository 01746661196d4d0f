"""What a mixture keeps of the text so far: each expert's own cache, and what the combination knows."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from typing_extensions import override

from saint.backbones._combine import Evidence, Reading
from saint.errors import ConfigError


@final
class MixtureCache(Cache):
    """The caches of all experts; a mixture makes it, and reads it again when the text goes on."""

    def __init__(self, parts: Sequence[Cache]) -> None:
        super().__init__(layers=[])
        self.parts = list(parts)
        self.evidence: Evidence | None = None
        self.reading: Reading | None = None

    @override
    def __len__(self) -> int:
        return len(self.parts)

    @property
    def num_bytes(self) -> int:
        """Of all tensors that are kept."""
        states = [one for state in (self.evidence, self.reading) if state is not None for one in state]
        inner = [part.num_bytes for part in self.parts if isinstance(part, MixtureCache)]
        kept = [one for part in self.parts for layer in part.layers for one in vars(layer).values()]
        tensors = [one for one in (*states, *kept) if isinstance(one, Tensor)]
        return sum(one.numel() * one.element_size() for one in tensors) + sum(inner)

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        return int(self.parts[0].get_seq_length(layer_idx))

    @override
    def reset(self) -> None:
        for part in self.parts:
            part.reset()
        self.evidence = self.reading = None

    @override
    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        for part in self.parts:
            part.reorder_cache(beam_idx)
        self._change(lambda rows, dim: rows.index_select(dim, beam_idx.to(rows.device)))

    @override
    def batch_select_indices(self, indices: Tensor) -> None:
        for part in self.parts:
            part.batch_select_indices(indices)
        self._change(lambda rows, dim: rows.index_select(dim, indices.to(rows.device)))

    @override
    def batch_repeat_interleave(self, repeats: int) -> None:
        for part in self.parts:
            part.batch_repeat_interleave(repeats)
        self._change(lambda rows, dim: rows.repeat_interleave(repeats, dim=dim))

    @override
    def crop(self, tokens_to_remove: int) -> None:
        """Refuse, for what a combination knows of the text cannot be taken back.

        Raises:
            ConfigError: Tokens are to be taken back.
        """
        if tokens_to_remove:
            raise ConfigError("a mixture cannot take tokens back; generate without an assistant model")

    @property
    @override
    def is_croppable(self) -> bool:
        return False

    def _change(self, change: Callable[[Tensor, int], Tensor]) -> None:
        """Apply what is done to the rows of a batch to what the combination knows of them."""
        if self.evidence is not None:
            nats, next_token = self.evidence
            self.evidence = Evidence(nats=change(nats, 0), next_token=change(next_token, 1))
        if self.reading is not None:
            self.reading = Reading(*(change(one, 0) for one in self.reading))


def parts_of(cache: Any, num_experts: int) -> list[Any]:
    """Each expert's cache; None for each where there is no text before.

    Raises:
        ConfigError: It is the cache of another sort of model.
    """
    if cache is None:
        return [None] * num_experts
    if not isinstance(cache, MixtureCache) or len(cache.parts) != num_experts:
        raise ConfigError(
            f"past_key_values is a {type(cache).__name__}, and a mixture of {num_experts} needs the one that it gave "
            "before; leave it out at the beginning of a text"
        )
    return cache.parts


def places_of(mask: Tensor | None, length: int) -> tuple[Tensor | None, Tensor | None]:
    """Which of the last `length` tokens are no padding, and which of them have a token before that is none either.

    Both are None where nothing is padded.

    Raises:
        ConfigError: The mask says more than which tokens are padding.
    """
    if mask is None:
        return None, None
    if mask.dim() != 2:
        raise ConfigError(f"attention_mask has {mask.dim()} dimensions, expected 2: (batch, tokens), 0 for padding")
    real = mask.bool()
    if bool(real.all()):
        return None, None
    here = real[:, -length:]
    before = torch.cat((torch.zeros_like(real[:, :1]), real[:, :-1]), dim=1)[:, -length:]
    return here, here & before
