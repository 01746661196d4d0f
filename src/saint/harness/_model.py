from collections import defaultdict
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from torch import nn
from typing_extensions import override

from saint.data import Tokens, encode, start_token
from saint.errors import ConfigError
from saint.evaluation import completion_costs, continuations, shown_tokens, split_pairs
from saint.harness._internals import LM, get_rolling_token_windows, make_disjoint_window

_MAX_TOKENS = 256  # the harness's own default, where a task does not say


@final
class HarnessModel(LM):
    """A model as the harness asks it: give it to `lm_eval.simple_evaluate(model=...)`.

    A start token stands before every text, as everywhere in SAINT-G. The model writes greedily only.

    Source:
        Biderman et al. 2024, arXiv:2405.14782.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, seq_len: int = 1024) -> None:
        """Fix what is shown.

        Args:
            model: Any language model of transformers, or a composition.
            tokenizer: The model's.
            seq_len: Most tokens that it is shown, if it reads as many.
        """
        super().__init__()
        self._model, self._tokenizer, self._seq_len = model, tokenizer, seq_len
        self._device = next(model.parameters()).device

    @property
    @override
    def tokenizer_name(self) -> str:
        """What the harness remembers prompts by, where it is told to."""
        return str(getattr(self._tokenizer, "name_or_path", "")).replace("/", "__")

    @override
    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(ln p(continuation | context), whether a model that writes greedily would write it) of each request."""
        prompts, completions = split_pairs(self._tokenizer, [request.args for request in requests])
        costs = completion_costs(self._model, prompts, completions, seq_len=self._seq_len)
        return list(zip((-costs.nats).tolist(), costs.is_likeliest.tolist(), strict=True))

    @override
    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """The log-likelihood of each text, in windows that overlap so that the last is as long as the others."""
        owners, prompts, completions = [], list[Tokens](), list[Tokens]()
        room = shown_tokens(self._model, self._seq_len)
        start = start_token(self._tokenizer)
        for owner, tokens in enumerate(encode(self._tokenizer, [request.args[0] for request in requests])):
            windows = get_rolling_token_windows(tokens[1:].tolist(), start, room, context_len=1)
            for context, paid in map(make_disjoint_window, windows):
                owners.append(owner)
                prompts.append(np.array(context, dtype=tokens.dtype))
                completions.append(np.array(paid, dtype=tokens.dtype))
        nats = completion_costs(self._model, prompts, completions, seq_len=room).nats
        totals: list[float] = (-np.bincount(owners, weights=nats, minlength=len(requests))).tolist()
        return totals

    @override
    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What the model writes after each context, up to the first of the strings that end it.

        Raises:
            ConfigError: A task wants it drawn by chance.
        """
        rows: dict[int, list[int]] = defaultdict(list)
        for row, request in enumerate(requests):
            settings = request.args[1]
            if settings.get("do_sample") and settings.get("temperature", 1.0):
                raise ConfigError("a task of the harness wants to draw what is written; only greedy tasks can be run")
            rows[int(settings.get("max_gen_toks", _MAX_TOKENS))].append(row)
        written = [""] * len(requests)
        for max_tokens, members in rows.items():
            prompts = encode(self._tokenizer, [requests[row].args[0] for row in members])
            tokens = continuations(self._model, prompts, max_tokens=max_tokens, seq_len=self._seq_len)
            texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for row, text in zip(members, texts, strict=True):
                written[row] = _until(text, requests[row].args[1].get("until") or ())
        return written


def _until(text: str, ends: str | Sequence[str]) -> str:
    """A text up to the first end that it has."""
    for end in [ends] if isinstance(ends, str) else ends:
        text = text.partition(end)[0] if end else text
    return text
