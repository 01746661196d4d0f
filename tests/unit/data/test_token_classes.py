"""What sort of text tokens spell, and text taken at even steps."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from saint.data import TOKEN_CLASSES, Splits, token_classes

SPELT = {
    "whitespace": ("▁", "\n", "▁▁"),
    "punctuation": (".", "▁(", "-", "=", "_"),
    "digits": ("7", "▁2024"),
    "word start": ("▁the", "▁Über"),
    "inside of word": ("x", "ing", "日本"),
    "other": ("<s>", "<unk>"),
}


@pytest.fixture
def with_marks() -> PreTrainedTokenizerFast:
    """A tokenizer that, decoding a text, drops the space before its first word."""
    pieces = [piece for there in SPELT.values() for piece in there]
    tokenizer = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


def test_classes_are_by_the_first_visible_character(with_marks: PreTrainedTokenizerFast) -> None:
    classes = [TOKEN_CLASSES[number] for number in token_classes(with_marks, vocab_size=30)]
    expected = [name for name, pieces in SPELT.items() for _ in pieces]
    assert classes == [*expected, *["other"] * (30 - len(expected))]


def test_classes_of_a_byte_level_tokenizer(data: Splits) -> None:
    classes = token_classes(data.tokenizer, vocab_size=300)
    named = {text: TOKEN_CLASSES[classes[data.tokenizer(text)["input_ids"][0]]] for text in (" the", "7", "(", "\n")}
    assert list(named.values()) == ["word start", "digits", "punctuation", "whitespace"]
    assert TOKEN_CLASSES[classes[data.tokenizer.bos_token_id]] == "other"
    assert TOKEN_CLASSES[classes[data.tokenizer("é")["input_ids"][0]]] == "other"  # a part of a character


@pytest.mark.parametrize("num_tokens", [1, 500, 2000, 10**9])
def test_text_at_even_steps_is_whole_documents_of_about_so_many_tokens(data: Splits, num_tokens: int) -> None:
    corpus = data.corpora["code/train"]
    part = corpus.evenly(num_tokens)
    assert abs(part.num_tokens - min(num_tokens, corpus.num_tokens)) <= 2 * corpus.num_tokens_each.max()
    places = [corpus.documents.index(document) for document in part.documents]
    assert max(np.ptp(np.diff(places)) if len(places) > 2 else 0, 0) <= 1
    ends, its_ends = np.cumsum(corpus.num_tokens_each), np.cumsum(part.num_tokens_each)
    whole, own = np.concatenate(list(corpus.shards)), np.concatenate(list(part.shards))
    for index, place in enumerate(places):
        width = corpus.num_tokens_each[place]
        assert part.num_bytes_each[index] == corpus.num_bytes_each[place]
        there = whole[ends[place] - width : ends[place]]
        assert np.array_equal(own[its_ends[index] - width : its_ends[index]], there)
