"""Small random models of the architectures that SAINT-G is promised to work on, biases and norms included."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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

_ENDS = {"bos_token_id": 0, "eos_token_id": 0}


class Sizes(NamedTuple):
    """How large a model is."""

    vocab_size: int
    width: int
    inner: int


def _gpt2(sizes: Sizes) -> Any:
    shape = {"n_embd": sizes.width, "n_inner": sizes.inner, "n_layer": 2, "n_head": 4, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**_ENDS, vocab_size=sizes.vocab_size, **shape))


def _opt(sizes: Sizes) -> Any:
    shape = {"hidden_size": sizes.width, "word_embed_proj_dim": sizes.width, "ffn_dim": sizes.inner}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
    return OPTForCausalLM(OPTConfig(**_ENDS, vocab_size=sizes.vocab_size, **shape, pad_token_id=1))


def _rotary(config: Any, model: Any, sizes: Sizes, *, tied: bool) -> Any:
    shape = {"hidden_size": sizes.width, "intermediate_size": sizes.inner, "head_dim": sizes.width // 4}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape |= {"max_position_embeddings": 64, "tie_word_embeddings": tied}
    return model(config(**_ENDS, vocab_size=sizes.vocab_size, **shape))


def _t5(proj: str, sizes: Sizes) -> Any:
    shape = {"d_model": sizes.width, "d_kv": sizes.width // 4, "d_ff": sizes.inner, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(vocab_size=sizes.vocab_size, **shape, feed_forward_proj=proj))


ARCHITECTURES: dict[str, Callable[[Sizes], Any]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "llama": partial(_rotary, LlamaConfig, LlamaForCausalLM, tied=False),
    "llama_tied": partial(_rotary, LlamaConfig, LlamaForCausalLM, tied=True),
    "qwen2": partial(_rotary, Qwen2Config, Qwen2ForCausalLM, tied=True),
    "qwen3": partial(_rotary, Qwen3Config, Qwen3ForCausalLM, tied=True),
    "t5_relu": partial(_t5, "relu"),
    "t5_gated": partial(_t5, "gated-gelu"),
}


def small_model(architecture: str, *, seed: int = 0, vocab_size: int = 96, width: int = 32, inner: int = 48) -> Any:
    """A model of about 30 thousand weights, none of them zero or one as they are before training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ARCHITECTURES[architecture](Sizes(vocab_size, width, inner))
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
