"""Bits per byte are exact, whatever the tokenizer makes of the text."""

import random
from math import log

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from saint.data import Corpus, Document, Domain, Splits, encode, split_documents, start_token, train_tokenizer
from saint.models import document_nats

WORDS = ["graft", "naïve", "café", "€", "日本語", "🐍", "\ttabs", "  spaces", "\r\n", "if x != 0:\n", "𝄞", "return"]


def some_texts() -> list[str]:
    choose = random.Random(0)
    return [" ".join(f"{choose.choice(WORDS)}{i}" for i in range(number % 30 + 8)) for number in range(60)]


TEXTS = some_texts()
SHARES = {"train": 0.25, "select": 0.25, "held_out": 0.25, "vault": 0.25}


def splits_with(vocab_size: int) -> Splits:
    tokenizer = train_tokenizer(TEXTS, vocab_size=vocab_size)
    documents = {"prose": {"": [Document(text, "") for text in TEXTS]}}
    domain = Domain(role="grow", sources=("-",), shares=SHARES)
    return split_documents(documents, {"prose": domain}, seed=0, tokenizer=tokenizer)


def a_model(vocab_size: int) -> LlamaForCausalLM:
    settings = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,  # wide enough that tokens differ in what they cost
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(settings).eval()


def text_of(corpus: Corpus) -> list[str]:
    by_digest = {Document(text, "").digest: text for text in TEXTS}
    return [by_digest[digest] for digest in corpus.documents]


@pytest.fixture(scope="module", params=[257, 400])
def splits(request: pytest.FixtureRequest) -> Splits:
    return splits_with(request.param)


def test_any_text_comes_back_from_its_tokens(splits: Splits) -> None:
    for text in [*TEXTS, "unseen: Ω≈ç√ \x00 \u2028", " leading and trailing  "]:
        [tokens] = encode(splits.tokenizer, [text])
        assert tokens[0] == start_token(splits.tokenizer)
        assert splits.tokenizer.decode(tokens[1:].tolist()) == text


def test_a_special_token_in_the_text_is_not_lost_from_the_count(splits: Splits) -> None:
    [tokens] = encode(splits.tokenizer, ["before<|endoftext|>after"])
    assert splits.tokenizer.decode(tokens[1:].tolist()) == "before<|endoftext|>after"


def test_a_corpus_has_the_utf8_length_of_its_text(splits: Splits) -> None:
    for corpus in splits.corpora.values():
        assert corpus.num_bytes_each.tolist() == [len(text.encode()) for text in text_of(corpus)]
        assert corpus.num_bytes == sum(len(text.encode()) for text in text_of(corpus))


def test_documents_have_the_same_bytes_and_other_tokens_under_another_tokenizer() -> None:
    one, other = splits_with(257).held_out, splits_with(400).held_out
    assert one.documents == other.documents
    assert one.num_bytes == other.num_bytes
    assert one.num_tokens > 1.3 * other.num_tokens
    assert one.digest != other.digest


def test_a_model_that_knows_nothing_pays_the_logarithm_of_the_vocabulary_for_each_token(splits: Splits) -> None:
    model = a_model(len(splits.tokenizer))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    corpus = splits.held_out
    nats = document_nats(model, corpus.windows(seq_len=32, batch_size=4), corpus.num_documents)
    num_predictions = corpus.num_tokens_each - 1
    np.testing.assert_allclose(nats, num_predictions * log(len(splits.tokenizer)), rtol=1e-6)
    spelt = [len(splits.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in text_of(corpus)]
    assert num_predictions.tolist() == spelt


@torch.no_grad()
def bits_token_by_token(model: LlamaForCausalLM, tokens: list[int]) -> float:
    """What each token costs given all before it, one by one, in float64."""
    bits = 0.0
    logits = model(input_ids=torch.tensor([tokens])).logits[0].double()
    for place in range(1, len(tokens)):
        row = logits[place - 1]
        bits -= float(row[tokens[place]] - row.exp().sum().log()) / log(2)
    return bits


def test_bits_per_byte_are_those_of_an_independent_count(splits: Splits) -> None:
    model, corpus = a_model(len(splits.tokenizer)), splits.held_out
    longest = int(corpus.num_tokens_each.max())
    nats = document_nats(model, corpus.windows(seq_len=longest, batch_size=3), corpus.num_documents)
    texts = text_of(corpus)
    bits = [bits_token_by_token(model, encode(splits.tokenizer, [text])[0].tolist()) for text in texts]
    np.testing.assert_allclose(nats / log(2), bits, rtol=1e-5)
    bits_per_byte = nats.sum() / log(2) / corpus.num_bytes
    assert bits_per_byte == pytest.approx(sum(bits) / sum(len(text.encode()) for text in texts), rel=1e-6)


def test_a_document_in_windows_costs_what_its_windows_cost_alone(splits: Splits) -> None:
    model, corpus = a_model(len(splits.tokenizer)), splits.held_out
    nats = document_nats(model, corpus.windows(seq_len=16, batch_size=5), corpus.num_documents)
    for text, total in zip(text_of(corpus), nats, strict=True):
        tokens = encode(splits.tokenizer, [text])[0].tolist()
        windows = [tokens[first : first + 17] for first in range(0, len(tokens) - 1, 16)]
        assert total / log(2) == pytest.approx(sum(bits_token_by_token(model, w) for w in windows), rel=1e-5)


def test_windows_of_any_length_count_the_same_tokens(splits: Splits) -> None:
    corpus = splits.held_out
    for seq_len in (1, 16, 100, 10_000):
        counts = [int(window.lengths.sum()) for window in corpus.windows(seq_len=seq_len, batch_size=4)]
        assert sum(counts) == corpus.num_tokens - corpus.num_documents
