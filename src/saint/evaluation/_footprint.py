"""Where a graft changes what the model says, and by how much."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor, nn

from saint import records
from saint.composition import Above, Below, boundary_of, weight_change
from saint.data import TOKEN_CLASSES, Corpus, TextWindows, token_classes
from saint.errors import DataError, DivergedError
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase, token_logits
from saint.records import Footprint

_PARTS = 8  # of a window
_LOGITS_COMPARED = 1 << 22
_NOTHING: Int64[np.ndarray, " vocab"] = np.zeros(0, dtype=np.int64)


def footprint(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    split: Mapping[str, Corpus],
    *,
    losses: Losses | None = None,
    num_tokens: int = 4096,
    tokenizer: Any = None,
) -> Footprint:
    """What `graft` changes, on top of `stack`, on some text of each domain.

    The divergence is from the model with the graft to the one without, KL(with || without): the mean of how much
    likelier the text that the new model would write is to itself than to the old one. It is large where the graft
    puts weight on what was all but ruled out before, which is what a limit outside of the grown domain is there for;
    the other direction is large where it rules out what was said before, and then the loss shows it.

    Both models read the very same windows, and the blocks that lie below the graft are computed once for both. The
    bare base stands in for no part of it: all is against the present stack.

    Args:
        split: Domain -> development text, for what the gates judge on must not be looked at more than it is.
        losses: Says how the text is cut.
        num_tokens: About so many tokens of each domain are read, in whole documents at even steps through it. Each
            costs about two passes: 4,096 were measured to take a seventh of the time of scoring 60,000.
        tokenizer: What the text was cut with; by default the base's own. Without either there are no classes.

    Raises:
        DataError: The text was cut with another tokenizer.
        DivergedError: One of the two gives something that is no number.
    """
    losses, tokenizer = losses or Losses(), tokenizer or base.tokenizer
    for corpus in split.values():
        _must_be_of(tokenizer, corpus)
    pair = _Pair(base, stack, graft)
    seen = {domain: _read(pair, corpus.evenly(num_tokens), losses, tokenizer) for domain, corpus in split.items()}
    rank, energy = _size_of_change(base, stack, graft)
    return Footprint(
        kl_nats={domain: one.mean_kl for domain, one in seen.items()},
        saved_by_class={domain: one.by_class for domain, one in seen.items()},
        saved_by_position={domain: one.by_position for domain, one in seen.items()},
        effective_rank=rank,
        energy=energy,
    )


@final
class _Pair:
    """Base and stack, without and with a graft, above what both have in common."""

    def __init__(self, base: FrozenBase, stack: Sequence[Graft], graft: Graft) -> None:
        self._boundary = boundary_of(base, stack, graft.candidate.sites)
        self._below = Below(base, stack, [self._boundary]) if self._boundary else None
        self._streams: dict[int, Tensor] = {}
        read: Callable[[Tensor], Tensor] = self._stream
        self.without: nn.Module = Above(base, stack, [], self._boundary, read)
        self.with_graft: nn.Module = Above(base, stack, [graft], self._boundary, read)
        self.base = base

    def logits(self, window: TextWindows) -> tuple[Float[Tensor, "batch seq vocab"], Float[Tensor, "batch seq vocab"]]:
        """What either gives for a window, without and with the graft."""
        self._streams.clear()
        tokens, lengths = window.tokens.to(self.base.model.device), window.lengths.to(self.base.model.device)
        return token_logits(self.without, tokens, lengths), token_logits(self.with_graft, tokens, lengths)

    def _stream(self, tokens: Int[Tensor, "batch seq"]) -> Tensor:
        assert self._below is not None  # it is asked where something lies below
        if not self._streams:  # the second of the two reads the very same tokens
            self._streams = self._below.read(tokens)
        return self._streams[self._boundary]


@final
class _Seen:
    """Sums over the tokens of one text."""

    def __init__(self, classes: Int64[np.ndarray, " vocab"], window_length: int) -> None:
        self._classes, self._window_length = classes, window_length
        self._kl, self._num_tokens = 0.0, 0
        self._saved = {size: np.zeros((2, size)) for size in (len(TOKEN_CLASSES), _PARTS)}  # nats saved, and tokens

    def add(
        self,
        kl: Float64[np.ndarray, " tokens"],
        saved: Float64[np.ndarray, " tokens"],
        targets: Int[np.ndarray, " tokens"],
        places: Int[np.ndarray, " tokens"],
    ) -> None:
        """Count tokens in; a place is how many tokens of its window were paid for before it."""
        self._kl += float(kl.sum())
        self._num_tokens += len(kl)
        self._count(_PARTS, places * _PARTS // self._window_length, saved)
        if len(self._classes):
            self._count(len(TOKEN_CLASSES), self._classes[targets], saved)

    @property
    def mean_kl(self) -> float:
        """Nats per token."""
        return round(max(self._kl / self._num_tokens, 0.0), 9)

    @property
    def by_class(self) -> dict[str, float]:
        """Class -> nats saved per token of it; classes that do not occur are left out."""
        means = self._means(len(TOKEN_CLASSES))
        return {name: mean for name, mean in zip(TOKEN_CLASSES, means, strict=True) if mean is not None}

    @property
    def by_position(self) -> tuple[float, ...]:
        """Nats saved per token in each part of a window; the last ones are left out where no document is so long."""
        return tuple(mean for mean in self._means(_PARTS) if mean is not None)

    def _count(self, size: int, among: Int[np.ndarray, " tokens"], saved: Float64[np.ndarray, " tokens"]) -> None:
        self._saved[size] += (
            np.bincount(among, weights=saved, minlength=size),
            np.bincount(among, minlength=size),
        )

    def _means(self, size: int) -> list[float | None]:
        return [round(float(nats / number), 9) if number else None for nats, number in self._saved[size].T]


@torch.inference_mode()
def _read(pair: _Pair, corpus: Corpus, losses: Losses, tokenizer: Any) -> _Seen:
    """Both models on all windows of a text."""
    vocab_size = int(pair.base.model.config.vocab_size)
    length = losses.window_length(pair.base.model)
    seen = _Seen(_NOTHING if tokenizer is None else token_classes(tokenizer, vocab_size=vocab_size), length)
    for window in losses.windows_for_two(pair.base.model, corpus):
        without, with_graft = pair.logits(window)
        paid = torch.arange(without.shape[1])[None] < window.lengths[:, None]  # (B, T)
        owed = paid.to(without.device)
        targets = window.tokens[:, 1:][paid]
        kl, saved = _compared(without[owed], with_graft[owed], targets.to(without.device))
        if not (np.isfinite(kl).all() and np.isfinite(saved).all()):
            raise DivergedError(
                f"on {corpus.name} a graft changes the next token's distribution by something that is no number, where "
                "a footprint needs finite ones; train it with a lower learning rate"
            )
        seen.add(kl, saved, targets.numpy(), paid.nonzero()[:, 1].numpy())
    return seen


def _compared(
    without: Float[Tensor, "tokens vocab"], with_graft: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"]
) -> tuple[Float64[np.ndarray, " tokens"], Float64[np.ndarray, " tokens"]]:
    """Of each token KL(with || without), and the nats that the one that came costs less with the graft."""
    kl, saved = [], []
    some = max(1, _LOGITS_COMPARED // without.shape[-1])
    for before, after, target in zip(without.split(some), with_graft.split(some), targets.split(some), strict=True):
        p, q = (logits.float().log_softmax(-1) for logits in (after, before))
        likelier = p - q
        of_p = p.exp()
        kl.append(torch.where(of_p > 0, of_p * likelier, 0.0).sum(-1))
        saved.append(likelier.gather(-1, target[:, None])[:, 0])
    return torch.cat(kl).double().cpu().numpy(), torch.cat(saved).double().cpu().numpy()


def _size_of_change(base: FrozenBase, stack: Sequence[Graft], graft: Graft) -> tuple[float | None, float | None]:
    """Effective rank and relative energy of what is changed of the weights; None where no weight is.

    The effective rank at a site is exp of the entropy of the squared singular values, as shares of their sum: 1 for a
    single direction, r for r of one size. Over the sites it is their mean, weighted by the energies.

    Source:
        Roy and Vetterli 2007, EUSIPCO, 606-610, with energies for singular values.
    """
    changed = total = weighted = 0.0
    for site in graft.candidate.sites:
        if (change := weight_change(base, stack, graft, site)) is None:
            continue
        energies = change.values.double() ** 2
        if (energy := float(energies.sum())) > 0:
            shares = energies[energies > 0] / energy
            weighted += energy * float(torch.exp(-(shares * shares.log()).sum()))
            changed += energy
        total += change.weight_energy
    if not changed:
        return None, None
    return round(weighted / changed, 6), float(f"{changed / total:.9g}") if total else None


def _must_be_of(tokenizer: Any, corpus: Corpus) -> None:
    digest = records.tokenizer_digest(tokenizer)
    if digest is not None and digest != corpus.tokenizer:
        raise DataError(
            f"{corpus.name} was cut with the tokenizer {corpus.tokenizer[:12]}, expected {digest[:12]}; give the "
            "tokenizer of the text"
        )
