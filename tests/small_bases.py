"""Small random models of the architectures that SAINT-G is promised to work on, biases and norms included."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from saint.grafts import Graft

_TOKENS = {"vocab_size": 96, "bos_token_id": 0, "eos_token_id": 0}
_ROTARY = {
    **_TOKENS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
_T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}


def _gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(**_TOKENS, n_embd=32, n_inner=48, n_layer=2, n_head=4, n_positions=64))


def _opt() -> Any:
    sizes = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "max_position_embeddings": 64}
    return OPTForCausalLM(OPTConfig(**_TOKENS, **sizes, num_hidden_layers=2, num_attention_heads=4, pad_token_id=1))


def _qwen2() -> Any:
    return Qwen2ForCausalLM(Qwen2Config(**_ROTARY, tie_word_embeddings=True))


def _t5(proj: str, **settings: int) -> Any:
    return T5ForConditionalGeneration(T5Config(**{**_T5, **settings}, feed_forward_proj=proj))


ARCHITECTURES: dict[str, Callable[..., Any]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_ROTARY, tie_word_embeddings=False)),
    "llama_tied": lambda: LlamaForCausalLM(LlamaConfig(**_ROTARY, tie_word_embeddings=True)),
    "qwen2": _qwen2,
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_ROTARY, tie_word_embeddings=True)),
    "t5_relu": partial(_t5, "relu"),
    "t5_gated": partial(_t5, "gated-gelu"),
}


def small_model(architecture: str, *, seed: int = 0, **settings: int) -> Any:
    """A model of about 30 thousand weights, none of them zero or one as they are before training.

    The settings of a T5 can be changed.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ARCHITECTURES[architecture](**settings)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def moved(graft: Graft, *, seed: int = 0) -> Graft:
    """The graft as training could have left it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in graft.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return graft
