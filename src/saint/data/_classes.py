"""What sort of text each token of a tokenizer spells."""

import unicodedata
from typing import Any

import numpy as np
from jaxtyping import Int64

from saint import records

TOKEN_CLASSES = ("whitespace", "punctuation", "digits", "word start", "inside of word", "other")
"""By the first visible character of what a token spells; a word starts after a space that the token itself spells."""

_OTHER = TOKEN_CLASSES.index("other")
_UNREADABLE = "\ufffd"
_ANCHOR = "x"

_known: dict[str, Int64[np.ndarray, " vocab"]] = {}


def token_classes(tokenizer: Any, *, vocab_size: int) -> Int64[np.ndarray, " vocab"]:
    """Token id -> index of its class in `TOKEN_CLASSES`; worked out once for each tokenizer.

    Of a token only its own text counts: one that stands first in a line begins a word as well, but spells no space, so
    it is counted as inside of one. Special tokens, parts of characters and ids that spell nothing are `other`.

    Args:
        vocab_size: Ids of the model, which may be more than the tokenizer has.
    """
    digest = records.tokenizer_digest(tokenizer) or ""
    if digest not in _known:
        special = set(tokenizer.all_special_ids)
        spelt = enumerate(_spelt(tokenizer))
        classes = (_OTHER if number in special else _class_of(text) for number, text in spelt)
        _known[digest] = np.fromiter(classes, dtype=np.int64)
    known = _known[digest][:vocab_size]
    return np.pad(known, (0, vocab_size - len(known)), constant_values=_OTHER)


def _spelt(tokenizer: Any) -> list[str]:
    """What each token spells after another one: as a text's first, some tokenizers would drop its space."""
    anchor = tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]
    before = tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
    pairs = [[*anchor, number] for number in range(len(tokenizer))]
    texts = tokenizer.batch_decode(pairs, clean_up_tokenization_spaces=False)
    return [text.removeprefix(before) for text in texts]


def _class_of(text: str) -> int:
    """Index of the class of what one token spells."""
    visible = text.lstrip()
    return TOKEN_CLASSES.index(_name_of(text, visible))


def _name_of(text: str, visible: str) -> str:
    if not visible:
        return "whitespace" if text else "other"
    first = visible[0]
    if first.isdecimal():
        return "digits"
    if first.isalpha():
        return "word start" if len(visible) < len(text) else "inside of word"
    return "punctuation" if unicodedata.category(first)[0] in "PS" and first != _UNREADABLE else "other"
