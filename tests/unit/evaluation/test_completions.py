"""What is paid for a completion and what is written after a prompt, held against doing it one item at a time."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from saint.composition import compose, newborn
from saint.data import Tokens
from saint.errors import ConfigError, DataError
from saint.evaluation._completions import completion_nats, continuations
from saint.models import FrozenBase, freeze
from saint.records import Candidate
from saint.testing import GraftSuite

BATCH_TOLERANCE = 1e-6
"""Nats per token: what rounding in passes of other widths may change."""


def some_tokens(count: int, *, seed: int, longest: int = 20, start: bool = True) -> list[Tokens]:
    chance = np.random.default_rng(seed)
    made = [chance.integers(1, 290, chance.integers(1, longest + 1)).astype(np.uint16) for _ in range(count)]
    return [np.concatenate([np.zeros(1, np.uint16), row]) if start else row for row in made]


def plainly(model: nn.Module, prompt: Tokens, completion: Tokens) -> float:
    """The definition: one item, token by token."""
    row = [*prompt.tolist(), *completion.tolist()]
    logits = model(input_ids=torch.tensor([row[:-1]])).logits[0].double().log_softmax(-1)
    paid = [-float(logits[place - 1, row[place]].detach()) for place in range(len(prompt), len(row))]
    return sum(paid) / len(paid)


@pytest.fixture
def model(base: FrozenBase) -> nn.Module:
    """A base with a graft that moves it."""
    sites = tuple(site for site in base.sites() if site.role == "up")
    return compose(base, [GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 3})))])


def small_t5() -> FrozenBase:
    settings = T5Config(
        vocab_size=300,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return freeze(T5ForConditionalGeneration(settings))


def test_a_completion_costs_what_the_definition_says(model: nn.Module) -> None:
    prompts, completions = some_tokens(40, seed=0), some_tokens(40, seed=1, start=False)
    found = completion_nats(model, prompts, completions, seq_len=512)
    expected = [plainly(model, *pair) for pair in zip(prompts, completions, strict=True)]
    assert found == pytest.approx(expected, abs=BATCH_TOLERANCE)


@pytest.mark.parametrize("sort", ["decoder", "encoder-decoder"])
def test_what_an_item_costs_does_not_depend_on_its_batch(model: nn.Module, sort: str) -> None:
    asked = model if sort == "decoder" else compose(small_t5(), ())
    prompts, completions = some_tokens(300, seed=2), some_tokens(300, seed=3, start=False)
    together = completion_nats(asked, prompts, completions, seq_len=512)
    order = np.random.default_rng(4).permutation(300)
    other_way = completion_nats(asked, [prompts[i] for i in order], [completions[i] for i in order], seq_len=512)
    assert other_way == pytest.approx(together[order], abs=BATCH_TOLERANCE)
    alone = [completion_nats(asked, [prompts[i]], [completions[i]], seq_len=512)[0] for i in range(20)]
    assert alone == pytest.approx(together[:20], abs=BATCH_TOLERANCE)


def test_an_encoder_decoder_pays_in_its_decoder() -> None:
    asked = compose(small_t5(), ())
    prompt, completion = some_tokens(1, seed=0)[0], some_tokens(1, seed=1, start=False)[0]
    decoder = [0, *completion[:-1].tolist()]
    made = asked(input_ids=torch.tensor([prompt.tolist()]), decoder_input_ids=torch.tensor([decoder]))
    logits = made.logits[0].detach().double().log_softmax(-1)
    expected = -np.mean([float(logits[place, int(token)]) for place, token in enumerate(completion)])
    assert completion_nats(asked, [prompt], [completion], seq_len=512) == pytest.approx([expected], abs=1e-6)


def test_an_item_that_is_too_long_keeps_the_end_of_its_prompt(model: nn.Module) -> None:
    prompt, completion = some_tokens(1, seed=5, longest=400)[0], some_tokens(1, seed=6, start=False)[0]
    assert len(prompt) > 64  # what the model reads
    kept = np.concatenate([prompt[:1], prompt[-(64 - len(completion)) :]])
    found = completion_nats(model, [prompt], [completion], seq_len=512)
    assert found == pytest.approx([plainly(model, kept, completion)], abs=BATCH_TOLERANCE)
    long = some_tokens(1, seed=7, longest=400, start=False)[0]
    found = completion_nats(model, [prompt], [long], seq_len=512)
    assert found == pytest.approx([plainly(model, prompt[:1], long[:64])], abs=BATCH_TOLERANCE)


def test_a_completion_of_no_tokens_is_refused(model: nn.Module) -> None:
    with pytest.raises(DataError, match="completion 1 is no token"):
        completion_nats(model, some_tokens(2, seed=0), [np.ones(1, np.uint16), np.ones(0, np.uint16)], seq_len=64)


def greedily(model: nn.Module, prompt: Sequence[int], max_tokens: int) -> list[int]:
    """The definition: one prompt, without a cache, until the end token 0."""
    row = list(prompt)
    for _ in range(max_tokens):
        token = int(model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].argmax())
        if token == 0:
            break
        row.append(token)
    return row[len(prompt) :]


def test_what_is_written_is_the_likeliest_token_each_time(model: nn.Module) -> None:
    prompts = some_tokens(60, seed=8, longest=6)
    found = continuations(model, prompts, max_tokens=9, seq_len=512)
    assert found == [greedily(model, prompt.tolist(), 9) for prompt in prompts]
    assert found == continuations(model, prompts, max_tokens=9, seq_len=512)
    assert len({tuple(line) for line in found}) > 10


def test_what_is_written_ends_where_the_text_ends(model: nn.Module) -> None:
    prompts = some_tokens(60, seed=8, longest=6)
    whole = continuations(model, prompts, max_tokens=9, seq_len=512)
    stop = whole[0][3]
    model.model.generation_config.eos_token_id = [0, stop]
    cut = continuations(model, prompts, max_tokens=9, seq_len=512)
    assert cut == [line[: line.index(stop)] if stop in line else line for line in whole]
    assert sum(stop in line for line in whole) > 0


def test_settings_of_generation_that_came_with_a_model_change_nothing(model: nn.Module) -> None:
    prompts = some_tokens(10, seed=9)
    before = continuations(model, prompts, max_tokens=6, seq_len=512)
    model.model.generation_config.update(do_sample=True, temperature=2.0, num_beams=3, repetition_penalty=5.0, top_k=3)
    assert continuations(model, prompts, max_tokens=6, seq_len=512) == before


def test_an_encoder_decoder_writes_in_its_decoder() -> None:
    asked = compose(small_t5(), ())
    found = continuations(asked, some_tokens(6, seed=10), max_tokens=5, seq_len=512)
    assert all(0 <= len(line) <= 5 for line in found)
    assert any(found)


def test_more_tokens_than_the_model_reads_are_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 64, and the model reads at most 64 tokens"):
        continuations(model, some_tokens(1, seed=0), max_tokens=64, seq_len=512)
