"""Small random models over one vocabulary, some of which have one embedding."""

from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from saint.backbones import DrmConfig, DrmForCausalLM

VOCAB, WIDTH = 61, 16


def a_llama(seed: int, *, table: int | None = None, **changes: Any) -> Any:
    """A Llama that is sure of itself; those of one `table` have one embedding."""
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3}
    sizes |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, "tie_word_embeddings": False}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, **changes}))
        if table is not None:
            torch.manual_seed(table)
            model.model.embed_tokens.weight.data.normal_()
    return model.eval().requires_grad_(requires_grad=False)


def a_drm(seed: int) -> Any:
    """A DRM decoder, whose head is its embedding."""
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 1, "n_heads": 2, "d_ff": 24}
    sizes |= {"max_seq_len": 48, "d_manifold": 4, "metric_hidden": 8, "metric_rank": 2, "initializer_range": 0.5}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DrmForCausalLM(DrmConfig(**sizes, bos_token_id=0, eos_token_id=0))
    return model.eval().requires_grad_(requires_grad=False)


def some_tokens(*shape: int, seed: int = 0) -> Tensor:
    """Token ids at random."""
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))
