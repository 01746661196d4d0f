"""A real Hugging Face model and real text, as small as they can be."""

import sysconfig
from pathlib import Path
from pydoc_data.topics import topics
from types import MappingProxyType
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from saint.data import Document, Domain, Splits, read_documents, split_documents
from saint.models import FrozenBase, freeze

_VOCAB_SIZE = 300
_PIECE_BYTES, _NUM_PIECES = 200, 3  # of each text its beginning, as some short documents: gates count documents
_GROWN = MappingProxyType({"train": 0.50, "select": 0.10, "held_out": 0.30, "vault": 0.10})


def tiny_base(tokenizer: Any = None, *, vocab_size: int = _VOCAB_SIZE, seed: int = 0) -> FrozenBase:
    """A Llama of two blocks and about ten thousand weights, random but always the same for a seed."""
    settings = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return freeze(LlamaForCausalLM(settings), tokenizer=tokenizer)


def double_base(*, seed: int = 0) -> FrozenBase:
    """A GPT-2 of two blocks in float64, for derivatives: it computes in the dtype of its weights, a Llama does not.

    Grafts are not meant for such a base, so it is frozen first and widened then.
    """
    settings = GPT2Config(
        vocab_size=_VOCAB_SIZE,
        n_embd=16,
        n_inner=24,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        base = freeze(GPT2LMHeadModel(settings))
    base.sites()
    base.model.double()
    return base


def tiny_splits(*, vocab_size: int = _VOCAB_SIZE, seed: int = 0) -> Splits:
    """The beginnings of some modules and help topics of the running interpreter: grow prose, retain code."""
    library = Path(sysconfig.get_path("stdlib"))
    code = [(document.text, document.source) for document in read_documents("*.py", root=library)]
    texts = {"code": code, "prose": [(text, name) for name, text in sorted(topics.items())]}
    return split_documents(
        {
            name: {"": [piece for text, where in found for piece in _pieces(text, where)]}
            for name, found in texts.items()
        },
        {
            "code": Domain(role="retain", sources=("*.py",)),
            "prose": Domain(role="grow", sources=("topics",), shares=_GROWN),
        },
        seed=seed,
        vocab_size=vocab_size,
    )


def _pieces(text: str, where: str) -> list[Document]:
    ends = range(0, min(len(text), _PIECE_BYTES * _NUM_PIECES), _PIECE_BYTES)
    return [Document(text[start : start + _PIECE_BYTES], where) for start in ends]
