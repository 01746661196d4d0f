"""Tokenizers: the base's own, or one made for a base that has none yet: byte-level BPE, or of characters."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saint.data._corpus import Tokens
from saint.data._unicode import START, build_unicode
from saint.errors import DataError

TokenizerSort = Literal["bpe", "unicode"]
_MIN_VOCAB = 257  # 256 bytes and the start token
_LARGEST_UINT16_VOCAB = 1 << 16


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, sort: TokenizerSort = "bpe") -> PreTrainedTokenizerFast:
    """A tokenizer made from text; any text can be spelt with it and comes back exactly.

    Args:
        sort: "bpe" is byte-level BPE; "unicode" has an id for each character, and for frequent pairs and triples.

    Raises:
        DataError: The vocabulary cannot even hold what there has to be.
    """
    tokenizer = (_bpe if sort == "bpe" else build_unicode)(texts, vocab_size=vocab_size)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=START)


def _bpe(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    if vocab_size < _MIN_VOCAB:
        raise DataError(f"vocab_size is {vocab_size}; a byte-level tokenizer needs at least {_MIN_VOCAB}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[START], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(name: str, *, revision: str | None = None) -> Any:
    """The tokenizer in a local folder or under a hub name.

    Raises:
        DataError: There is none.
    """
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{name} has no tokenizer that transformers can load; give the folder of a saved one"
        ) from error


def start_token(tokenizer: Any) -> int:
    """The token before a document's first: without one the first token could not be paid for.

    Raises:
        DataError: The tokenizer has neither a beginning-of-sequence nor an end-of-sequence token.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise DataError("the tokenizer has no bos or eos token; set one, so that a document's first token can be scored")


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Each text's tokens, without special ones, after one start token."""
    dtype = np.uint16 if len(tokenizer) <= _LARGEST_UINT16_VOCAB else np.uint32
    start = start_token(tokenizer)
    if not texts:
        return []
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [np.array([start, *tokens], dtype=dtype) for tokens in ids]
