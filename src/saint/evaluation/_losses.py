"""What models pay for text, measured once and remembered, above blocks that are computed once."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import lru_cache, partial
from typing import Any, final

import torch
from torch import nn

from saint import records
from saint.composition import Above, Prefix, PrefixCache, boundary_of, compose
from saint.data import Corpus, TextWindows
from saint.evaluation._loss_store import LossStore, PerDocument
from saint.grafts import Graft
from saint.models import FrozenBase, document_nats, rows_together
from saint.progress import Progress, Silent
from saint.records import Interval, Spread
from saint.search import code_digest, defining_digest
from saint.statistics import bootstrap_interval, paired_interval, paired_spread

_LOGITS_AT_ONCE = 1 << 25  # of each of two models; in float32 that is 128 MiB


@final
class Losses:
    """The total loss of each document, measured once for each model and corpus and then remembered.

    What the blocks below the topmost graft of a stack give for a window is remembered too, so that the same graft at
    another strength, or another graft there, is measured from its own first block on. The numbers are those of the
    whole model, to the bit.
    """

    def __init__(
        self,
        *,
        seq_len: int = 256,
        batch_size: int = 0,
        cache: PrefixCache | None = None,
        store: LossStore | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Fix how documents are cut.

        Args:
            seq_len: Predictions per window; a token sees at most this much text before it.
            batch_size: Windows that are scored together; 0 for as many as make 2,048 tokens on a processor and 16,384
                on an accelerator.
            cache: Where hidden states are kept; by default in a quarter of the memory that is free.
            store: Remembers what compositions cost beyond this process.
        """
        self._seq_len, self._batch_size, self._progress = seq_len, batch_size, progress
        self._cache = cache or PrefixCache(progress=progress)
        self._store = store
        self._known: dict[tuple[Any, ...], PerDocument] = {}
        self._boundaries: dict[tuple[Any, ...], set[int]] = defaultdict(set)

    def expect(self, base: FrozenBase, stack: Sequence[Graft], grafts: Sequence[Graft]) -> None:
        """Say that `grafts` will be measured on `stack`, each alone: one pass then gives what is below any of them.

        What the blocks of another stack gave makes room for them.
        """
        if self._boundaries and _name(base, stack) not in self._boundaries:
            self._cache.close()
            self._boundaries.clear()
        below = {boundary_of(base, stack, graft.candidate.sites) for graft in grafts}
        self._boundaries[_name(base, stack)] = below - {0}

    def unwatched(self) -> "Losses":
        """The same with the same memory, and nobody told how far it is: how much is measured may be a secret."""
        twin = copy(self)
        twin._progress = Silent()
        return twin

    def of(self, base: FrozenBase, stack: Sequence[Graft], corpus: Corpus) -> PerDocument:
        """Nats per document of base + stack, as remembered, in the store as well if there is one."""
        name = (*_name(base, stack), corpus.digest)
        if self._store is not None and name not in self._known:
            self._known[name] = self._store.once(
                self._described(base, stack, corpus),
                corpus.num_documents,
                lambda: self.measure(self._composed(base, stack), corpus),
            )
        return self.remembered(name, lambda: self._composed(base, stack), corpus)

    def remembered(self, name: tuple[Any, ...], make: Callable[[], nn.Module], corpus: Corpus) -> PerDocument:
        """Nats per document of a model that is only made if it was not measured before.

        Args:
            name: What no other model and corpus have.
        """
        if name not in self._known:
            self._known[name] = self.measure(make(), corpus)
        return self._known[name]

    def saved(self, base: FrozenBase, before: Sequence[Graft], after: Sequence[Graft], corpus: Corpus) -> Interval:
        """Bits per byte that base + `after` saves against base + `before`; positive is better."""
        return paired_interval(self.of(base, before, corpus), self.of(base, after, corpus), corpus.num_bytes_each)

    def spread(self, base: FrozenBase, before: Sequence[Graft], after: Sequence[Graft], corpus: Corpus) -> Spread:
        """How the bits per byte that each document saves lie over the documents, each counting the same."""
        return paired_spread(self.of(base, before, corpus), self.of(base, after, corpus), corpus.num_bytes_each)

    def bootstrapped(
        self, base: FrozenBase, before: Sequence[Graft], after: Sequence[Graft], corpus: Corpus
    ) -> Interval:
        """The same as an ordinary bootstrap over documents has it."""
        return bootstrap_interval(self.of(base, before, corpus), self.of(base, after, corpus), corpus.num_bytes_each)

    def measure(self, model: nn.Module, corpus: Corpus) -> PerDocument:
        """Nats per document of any model, measured now."""
        return document_nats(model, self.windows(model, corpus), corpus.num_documents, progress=self._progress)

    def windows(self, model: Any, corpus: Corpus, *, batch_size: int = 0) -> Iterator[TextWindows]:
        """The text in the pieces that a model is shown.

        Args:
            batch_size: Windows in a piece; 0 for as many as are scored together.
        """
        seq_len, together = self._cut(model)
        return corpus.windows(seq_len=seq_len, batch_size=batch_size or together)

    def windows_for_two(self, model: Any, corpus: Corpus) -> Iterator[TextWindows]:
        """The same in pieces for which the logits of two models fit into memory at once."""
        length = self.window_length(model)
        fitting = max(1, _LOGITS_AT_ONCE // (length * int(model.config.vocab_size)))
        return self.windows(model, corpus, batch_size=min(rows_together(length, model.device), fitting))

    def _cut(self, model: Any) -> tuple[int, int]:
        """Predictions per window, and windows that are scored together."""
        together = self._batch_size or rows_together(self._seq_len, next(model.parameters()).device)
        return self.window_length(model), together

    def window_length(self, model: Any) -> int:
        """Most predictions in a window that a model is shown."""
        longest = getattr(model.config, "max_position_embeddings", None) or self._seq_len
        return int(min(self._seq_len, longest))

    def _described(self, base: FrozenBase, stack: Sequence[Graft], corpus: Corpus) -> dict[str, Any]:
        """Everything that decides what base + stack pays for the documents, but for the machine."""
        seq_len, batch_size = self._cut(base.model)
        parts = {type(part) for graft in stack for part in graft.parts.values()}
        return {
            "base": base.digest,
            "stack": [
                {"graft": graft.digest, "strength": graft.strength, "candidate": records.digest(graft.candidate)}
                for graft in stack
            ],
            "corpus": corpus.digest,
            "seq_len": seq_len,
            "batch_size": batch_size,
            "code": _code(),
            "kinds": sorted({defining_digest(part) for part in parts}),
            "torch": torch.__version__,
        }

    def _composed(self, base: FrozenBase, stack: Sequence[Graft]) -> nn.Module:
        """The whole model, or as much of it as lies above what no change of the topmost graft can reach."""
        if not stack:
            return compose(base, ())
        *below, top = stack
        boundary = boundary_of(base, below, top.candidate.sites)
        if not boundary:
            return compose(base, stack)
        expected = self._boundaries[_name(base, below)]
        expected.add(boundary)
        read = partial(Prefix(base, below, expected, self._cache).read, boundary)
        return Above(base, below, [top], boundary, read)


@lru_cache(maxsize=1)
def _code() -> str:
    """Losses that another version of the code has measured are not taken up."""
    return code_digest([])


def _name(base: FrozenBase, stack: Sequence[Graft]) -> tuple[Any, ...]:
    return base.digest, tuple((graft.digest, graft.strength) for graft in stack)
