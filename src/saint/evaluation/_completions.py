"""What a model pays for completions of prompts, and what it writes itself, many prompts at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList
from typing_extensions import override

from saint.data import Tokens
from saint.errors import ConfigError, DataError
from saint.models import nats_and_hits, rows_together, token_logits


@final
@dataclass(frozen=True, kw_only=True)
class CompletionCosts:
    """What completions cost: of each one the whole of it."""

    nats: Float64[np.ndarray, " rows"]
    """-ln p(completion | prompt)."""
    num_tokens: Int64[np.ndarray, " rows"]
    """Tokens that were paid for."""
    is_likeliest: Bool[np.ndarray, " rows"]
    """Whether each token was the likeliest in its place: a model that takes those writes the completion."""


@torch.inference_mode()
def completion_costs(
    model: nn.Module, prompts: Sequence[Tokens], completions: Sequence[Tokens], *, seq_len: int
) -> CompletionCosts:
    """What a model pays for each completion after its prompt.

    Rows of like length share a pass, padded on the right, where a causal model does not look. Of a prompt that is too
    long for what the model reads its last tokens are used, after its start token; of such a completion its first ones.
    An encoder-decoder reads the prompt in its encoder and pays for the completion in its decoder.

    Args:
        prompts: Each with its start token, as `encode` gives them.
        completions: Each without a start token.
        seq_len: Most tokens that a row may have before its last one, if the model reads as many.

    Raises:
        DataError: A completion has no tokens.
    """
    if empty := [row for row, completion in enumerate(completions) if not len(completion)]:
        raise DataError(f"completion {empty[0]} is no token to this tokenizer; leave its item out")
    room, halves = shown_tokens(model, seq_len), _is_encoder_decoder(model)
    ends = [completion[:room] for completion in completions]
    starts = [
        _fitting(prompt, room if halves else room - len(end) + 1) for prompt, end in zip(prompts, ends, strict=True)
    ]
    lengths = np.array([len(start) + len(end) for start, end in zip(starts, ends, strict=True)], dtype=np.int64)
    pay = _pay_in_the_decoder if halves else _pay
    sums: Float64[np.ndarray, "rows 2"] = np.zeros((len(ends), 2))
    for batch in _batches(lengths, next(model.parameters()).device):
        sums[batch] = pay(model, [starts[row] for row in batch], [ends[row] for row in batch])
    num_tokens = np.array([len(end) for end in ends], dtype=np.int64)
    return CompletionCosts(nats=sums[:, 0], num_tokens=num_tokens, is_likeliest=sums[:, 1] == num_tokens)


def completion_nats(
    model: nn.Module, prompts: Sequence[Tokens], completions: Sequence[Tokens], *, seq_len: int
) -> Float64[np.ndarray, " rows"]:
    """-ln p(completion | prompt) of each pair, in nats per token of the completion, as `completion_costs` has it."""
    costs = completion_costs(model, prompts, completions, seq_len=seq_len)
    per_token: Float64[np.ndarray, " rows"] = costs.nats / costs.num_tokens
    return per_token


@torch.inference_mode()
def continuations(model: Any, prompts: Sequence[Tokens], *, max_tokens: int, seq_len: int) -> list[list[int]]:
    """What the model writes after each prompt, at each step the token it holds likeliest, until it ends the text.

    Prompts of equal length share a pass, so nothing is padded, and no mask or position can be got wrong.

    Args:
        model: With the `generate` of transformers.
        prompts: Each with its start token.
        max_tokens: Most tokens to write.
        seq_len: Most tokens of prompt and continuation, if the model reads as many.

    Raises:
        ConfigError: The model cannot read a prompt and that many tokens after it.
        DataError: Its logits are not numbers.
    """
    halves = _is_encoder_decoder(model)
    room = shown_tokens(model, seq_len) - (0 if halves else max_tokens)
    if room < 1:
        raise ConfigError(
            f"max_tokens is {max_tokens}, and the model reads at most {room + max_tokens} tokens; lower max_tokens"
        )
    shown = [_fitting(prompt, room) for prompt in prompts]
    written: list[list[int]] = [[] for _ in shown]
    lengths = np.array([len(prompt) for prompt in shown], dtype=np.int64)
    device = next(model.parameters()).device
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        size = rows_together(int(length) + max_tokens, device)
        for batch in np.array_split(rows, -(-len(rows) // size)):
            tokens = _padded([shown[row] for row in batch]).to(device)
            made = model.generate(tokens, **_greedy(model, tokens, max_tokens))
            new = made[:, 1 if halves else int(length) :]
            ended = torch.isin(new, torch.tensor(sorted(_ends(model)), device=device)).cumsum(1) > 0
            for row, line, num in zip(batch, new.tolist(), (~ended).sum(1).tolist(), strict=True):
                written[row] = line[:num]  # what stands after the end of the text is padding
    return written


class _MustBeNumbers(LogitsProcessor):
    """Stops where a model is broken: of logits that are no numbers some token is the largest all the same."""

    @override
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not bool((scores < torch.inf).all()):
            raise DataError("the model writes from logits that are not numbers; look at its weights")
        return scores


def _pay(model: nn.Module, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Float64[np.ndarray, "rows 2"]:
    """Nats of each completion after its prompt, and likeliest tokens in it, in one pass of a causal model.

    Rows that differ in their last token only, such as letters that may answer one question, are read once.
    """
    rows = [np.concatenate(pair) for pair in zip(prompts, completions, strict=True)]
    different: dict[bytes, int] = {}
    read = [different.setdefault(row[:-1].tobytes(), place) for place, row in enumerate(rows)]
    once = {place: number for number, place in enumerate(different.values())}
    device = next(model.parameters()).device
    tokens, lengths = _padded(rows).to(device), torch.tensor([len(row) - 1 for row in rows], device=device)
    logits = token_logits(model, tokens[list(once)], lengths[list(once)])
    if len(once) < len(rows):
        logits = logits[[once[place] for place in read]]
    paid = nats_and_hits(logits, tokens[:, 1:])
    return _sums(paid, [len(prompt) - 1 for prompt in prompts], [len(row) - 1 for row in rows])


def _pay_in_the_decoder(
    model: Any, prompts: Sequence[Tokens], completions: Sequence[Tokens]
) -> Float64[np.ndarray, "rows 2"]:
    """The same, where an encoder reads the prompts."""
    device = next(model.parameters()).device
    read, targets = _padded(prompts).to(device), _padded(completions).to(device)
    known = torch.arange(read.shape[1])[None] < torch.tensor([len(prompt) for prompt in prompts])[:, None]
    start = torch.full_like(targets[:, :1], _decoder_start(model, read))
    logits = model(
        input_ids=read,
        attention_mask=known.long().to(device),
        decoder_input_ids=torch.cat([start, targets[:, :-1]], dim=1),
        use_cache=False,
    ).logits  # (B, T, V)
    return _sums(
        nats_and_hits(logits, targets), [0] * len(completions), [len(completion) for completion in completions]
    )


def _sums(
    values: Float[Tensor, "rows seq 2"], firsts: Sequence[int], ends: Sequence[int]
) -> Float64[np.ndarray, "rows 2"]:
    """The sums over places firsts[b] .. ends[b] - 1 of each row b, in float64."""
    places = torch.arange(values.shape[1])[None]
    paid = (places >= torch.tensor(firsts)[:, None]) & (places < torch.tensor(ends)[:, None])
    return np.stack([torch.where(paid, each, 0.0).sum(1).numpy() for each in values.cpu().double().unbind(-1)], axis=1)


def _greedy(model: Any, tokens: Tensor, max_tokens: int) -> dict[str, Any]:
    """Settings that take each likeliest token as it is, whatever the model's own settings of generation say."""
    ends = _ends(model)
    settings = {
        "attention_mask": torch.ones_like(tokens),
        "max_new_tokens": max_tokens,
        "min_new_tokens": 0,
        "do_sample": False,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "pad_token_id": min(ends, default=0),
        "logits_processor": LogitsProcessorList([_MustBeNumbers()]),
    }
    if _is_encoder_decoder(model):
        settings["decoder_start_token_id"] = _decoder_start(model, tokens)
    return settings


def _ends(model: Any) -> set[int]:
    """The tokens that end a text."""
    generation = getattr(getattr(model, "model", model), "generation_config", None)
    found = getattr(generation, "eos_token_id", None)
    found = model.config.eos_token_id if found is None else found
    return set() if found is None else set(found if isinstance(found, list | tuple) else [found])


def _decoder_start(model: Any, prompts: Tensor) -> int:
    found = getattr(model.config, "decoder_start_token_id", None)
    return int(prompts[0, 0] if found is None else found)


def _is_encoder_decoder(model: Any) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False))


def shown_tokens(model: Any, seq_len: int) -> int:
    """How many tokens a model is shown at most: `seq_len`, if it reads as many."""
    return min(seq_len, getattr(model.config, "max_position_embeddings", None) or seq_len)


def _fitting(prompt: Tokens, room: int) -> Tokens:
    """The start token and as many of the last ones as there is room for."""
    if len(prompt) <= room:
        return prompt
    return np.concatenate([prompt[:1], prompt[len(prompt) - room + 1 :]])


def _padded(rows: Sequence[Tokens]) -> Tensor:
    """(B, T) token ids, with 0 after the end of shorter rows."""
    tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(tokens)


def _batches(lengths: Int64[np.ndarray, " rows"], device: torch.device) -> Iterator[Int64[np.ndarray, " batch"]]:
    """Rows by length, the longest first, as many together as make a good pass."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        size = rows_together(int(lengths[order[first]]), device)
        yield order[first : first + size]
        first += size
