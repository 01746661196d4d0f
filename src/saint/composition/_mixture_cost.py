"""What a mixture costs, counted in a pass."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from saint.backbones import MixtureCache, MixtureForCausalLM
from saint.models import counting_flops


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureCost:
    """What a mixture holds and does for a token."""

    held_params: int
    """Numbers in memory and in the file, frozen tables included: twins once."""
    apart_params: int
    """The same experts each in a file of its own."""
    active_params: int
    """What a token is multiplied with, in all experts together: everything but tables of embeddings that are no
    head."""
    flops_per_token: int
    """Of a forward pass over `seq_len` tokens, a token seeing half of the others on average."""
    cache_bytes_per_token: int
    """What a further token of a text adds to the caches."""
    cache_bytes_per_text: int
    """What a text's cache holds besides, however long it is."""
    seq_len: int


def mixture_cost(mixture: MixtureForCausalLM, *, seq_len: int = 256) -> MixtureCost:
    """Count what a mixture costs, in one pass over a text and two over its beginning.

    Args:
        seq_len: Tokens of the text that operations are counted for.
    """
    tokens = torch.zeros(1, seq_len, dtype=torch.int64, device=mixture.device)
    with torch.no_grad():
        counter = counting_flops()
        with counter:
            mixture(tokens, use_cache=False)
        sizes = [_cache_bytes(mixture, tokens[:, :length]) for length in (1, 2)] if mixture.config.use_cache else [0, 0]
    per_token = sizes[1] - sizes[0]
    return MixtureCost(
        held_params=_num_held(mixture),
        apart_params=_num_apart(mixture),
        active_params=_num_active(mixture),
        flops_per_token=counter.get_total_flops() // seq_len,
        cache_bytes_per_token=per_token,
        cache_bytes_per_text=sizes[0] - per_token,
        seq_len=seq_len,
    )


def _cache_bytes(model: nn.Module, tokens: torch.Tensor) -> int:
    past: Any = model(tokens, use_cache=True).past_key_values
    assert isinstance(past, MixtureCache)  # it was asked for
    return past.num_bytes


def _num_params(model: nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


def _num_held(model: nn.Module) -> int:
    return sum(one.numel() for one in {id(one): one for one in model.state_dict(keep_vars=True).values()}.values())


def _num_apart(model: nn.Module) -> int:
    if isinstance(model, MixtureForCausalLM):
        return sum(map(_num_apart, model.experts)) + (_num_params(model.gate) if model.gate else 0)
    return _num_held(model)


def _num_active(model: nn.Module) -> int:
    """Of one expert after the other; an embedding that is also the head's weight is multiplied with."""
    if isinstance(model, MixtureForCausalLM):
        return sum(map(_num_active, model.experts)) + (_num_params(model.gate) if model.gate else 0)
    heads = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return _num_params(model) - sum(one.numel() for one in tables if id(one) not in heads)
