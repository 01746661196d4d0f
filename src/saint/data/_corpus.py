"""Tokenised documents in memory-mapped shards: batches to learn from, windows to be scored on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Int, Int64, UInt16, UInt32
from torch import Tensor

from saint import records
from saint.errors import DataError

Tokens = UInt16[np.ndarray, " _"] | UInt32[np.ndarray, " _"]  # of any length: shards differ, and so do documents


class TextWindows(NamedTuple):
    """A batch of rows to be scored: in row b the tokens 1 .. lengths[b] are paid for, the rest is padding."""

    tokens: Int[Tensor, "batch seq"]
    lengths: Int[Tensor, " batch"]
    owners: Int[Tensor, " batch"]
    """Index of the document that a row is from."""


@final
@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The documents of one split of one domain, each one a start token followed by its tokens."""

    name: str
    """domain/split"""
    shards: Sequence[Tokens]
    """Whole documents one after the other; usually memory-mapped."""
    num_tokens_each: Int64[np.ndarray, " documents"]
    """Tokens of each document, its start token included."""
    num_bytes_each: Int64[np.ndarray, " documents"]
    """UTF-8 bytes of the text that is used of each document, whatever the tokenizer made of it."""
    documents: tuple[str, ...]
    """SHA-256 of each document's text, all of it."""
    tokenizer: str
    """Digest of the tokenizer."""

    @cached_property
    def digest(self) -> str:
        """What these documents are, how much of each is used, and how they were cut into tokens."""
        sizes = self.num_bytes_each.tolist()
        return records.digest({"documents": self.documents, "num_bytes": sizes, "tokenizer": self.tokenizer})

    @property
    def num_documents(self) -> int:
        """How many independent observations the corpus gives."""
        return len(self.documents)

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of all documents, start tokens included."""
        return int(self.num_tokens_each.sum())

    @cached_property
    def num_bytes(self) -> int:
        """UTF-8 bytes of all documents."""
        return int(self.num_bytes_each.sum())

    def evenly(self, num_tokens: int) -> "Corpus":
        """Whole documents of about `num_tokens` tokens together, taken at even steps; all where there are no more."""
        if self.num_tokens <= num_tokens:
            return self
        wanted = max(1, round(self.num_documents * num_tokens / self.num_tokens))
        return self.take(np.arange(wanted) * self.num_documents // wanted)

    def take(self, documents: Int64[np.ndarray, " taken"]) -> "Corpus":
        """The documents at these places, in this order, as a corpus of their own; at least one."""
        taken, ends = documents, np.cumsum(self.num_tokens_each)
        widths = self.num_tokens_each[taken]
        each = [self._run(int(end - width), int(width)) for end, width in zip(ends[taken], widths, strict=True)]
        return replace(
            self,
            shards=[np.concatenate(each)],
            num_tokens_each=widths,
            num_bytes_each=self.num_bytes_each[taken],
            documents=tuple(self.documents[index] for index in taken),
        )

    def joined(self, others: Sequence["Corpus"], *, name: str) -> "Corpus":
        """The documents of this corpus and then those of others, as one.

        Raises:
            DataError: They were cut into tokens by different tokenizers.
        """
        parts = [self, *others]
        for part in others:
            if part.tokenizer != self.tokenizer:
                raise DataError(
                    f"{part.name} was cut with the tokenizer {part.tokenizer[:12]}, expected {self.tokenizer[:12]}, "
                    f"which {self.name} was cut with; prepare them together"
                )
        return Corpus(
            name=name,
            shards=[shard for part in parts for shard in part.shards],
            num_tokens_each=np.concatenate([part.num_tokens_each for part in parts]),
            num_bytes_each=np.concatenate([part.num_bytes_each for part in parts]),
            documents=tuple(document for part in parts for document in part.documents),
            tokenizer=self.tokenizer,
        )

    def windows(self, *, seq_len: int, batch_size: int) -> Iterator[TextWindows]:
        """Rows of at most `seq_len` predictions that together pay for every token but the start tokens, once.

        Rows are ordered by length so that a batch has little padding; a row sees no text before its own.
        """
        to_pay = self.num_tokens_each - 1
        num_rows = -(-to_pay // seq_len)
        owners = np.repeat(np.arange(self.num_documents), num_rows)
        places = np.arange(len(owners)) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows)  # row of its document
        document_starts = np.cumsum(self.num_tokens_each) - self.num_tokens_each
        starts = document_starts[owners] + places * seq_len
        lengths = np.minimum(to_pay[owners] - places * seq_len, seq_len)
        order = np.argsort(-lengths, kind="stable")
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            tokens = self._rows(starts[rows], lengths[rows] + 1)
            yield TextWindows(tokens, torch.from_numpy(lengths[rows]), torch.from_numpy(owners[rows]))

    def part(self, documents: slice) -> "Corpus":
        """Some of the documents, one after the other, as a corpus of their own."""
        ends = np.cumsum(self.num_tokens_each)
        first, last, _ = documents.indices(self.num_documents)
        start, end = (int(ends[place - 1]) if place else 0 for place in (first, last))
        return replace(
            self,
            shards=[self._run(start, end - start)] if end > start else [],
            num_tokens_each=self.num_tokens_each[first:last],
            num_bytes_each=self.num_bytes_each[first:last],
            documents=self.documents[first:last],
        )

    def batches(self, *, batch_size: int, seq_len: int, seed: int, shift: bool = True) -> "Batches":
        """Text to learn from.

        Args:
            shift: Whether each epoch cuts its windows at another place.

        Raises:
            DataError: The corpus is shorter than one window.
        """
        num_windows = (self.num_tokens - seq_len) // seq_len
        if num_windows < 1:
            raise DataError(
                f"{self.name} has {self.num_tokens} tokens; a window of {seq_len} needs at least {2 * seq_len}: "
                "give more text or a shorter seq_len"
            )
        return Batches(
            corpus=self, batch_size=batch_size, seq_len=seq_len, seed=seed, num_windows=num_windows, shift=shift
        )

    def beginning(self, document: int, *, num_tokens: int) -> Tokens:
        """The first tokens of a document after its start token, fewer if it has fewer.

        Args:
            document: Its index.
        """
        start = int(self.num_tokens_each[:document].sum()) + 1
        return self._run(start, min(num_tokens, int(self.num_tokens_each[document]) - 1))

    def _rows(
        self, starts: Int64[np.ndarray, " batch"], widths: Int64[np.ndarray, " batch"]
    ) -> Int[Tensor, "batch seq"]:
        """The tokens from each start on, padded with token 0 to the widest row."""
        rows = np.zeros((len(starts), max(widths)), dtype=np.int64)
        for row, start, width in zip(rows, starts, widths, strict=True):
            row[:width] = self._run(int(start), int(width))
        return torch.from_numpy(rows)

    def _run(self, start: int, width: int) -> Tokens:
        """`width` tokens from position `start` of all shards put end to end."""
        shard = int(np.searchsorted(self._shard_ends, start, side="right"))
        inside = start - (int(self._shard_ends[shard - 1]) if shard else 0)
        run = self.shards[shard][inside : inside + width]
        return run if len(run) == width else np.concatenate([run, self._run(start + len(run), width - len(run))])

    @cached_property
    def _shard_ends(self) -> Int64[np.ndarray, " shards"]:
        return np.cumsum([len(shard) for shard in self.shards], dtype=np.int64)


@final
@dataclass(frozen=True, kw_only=True)
class Batches:
    """Batches as a pure function of (seed, step): any step can be had at any time, so training resumes anywhere.

    Each epoch visits every window once, in its own order and, with `shift`, moved by its own random number of tokens.
    """

    corpus: Corpus
    batch_size: int
    seq_len: int
    seed: int
    num_windows: int
    shift: bool = True

    def __getitem__(self, step: int) -> Int[Tensor, "batch seq"]:
        """The batch of `step`: (batch_size, seq_len + 1) token ids."""
        return self.at(step * self.batch_size * self.seq_len)

    def at(self, position: int) -> Int[Tensor, "batch seq"]:
        """The batch that comes after `position` tokens, whatever sizes of batches those were seen in.

        All that has to be kept to go on is the position; it grows by batch_size * seq_len.

        Raises:
            DataError: No window begins there.
        """
        first, inside = divmod(position, self.seq_len)
        if inside or position < 0:
            raise DataError(
                f"position {position} is no multiple of seq_len {self.seq_len}; go on with the seq_len of before"
            )
        places = np.arange(first, first + self.batch_size)
        starts = np.array([self._start(*divmod(int(place), self.num_windows)) for place in places])
        return self.corpus._rows(starts, np.full(self.batch_size, self.seq_len + 1))

    def _start(self, epoch: int, place: int) -> int:
        order, shift = _epoch(self.seed, epoch, self.num_windows, self.seq_len)
        return int(order[place]) * self.seq_len + (shift if self.shift else 0)


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, num_windows: int, seq_len: int) -> tuple[Int64[np.ndarray, " windows"], int]:
    """The order of an epoch's windows, and where the first one starts."""
    random = np.random.default_rng([seed, epoch])
    return random.permutation(num_windows), int(random.integers(seq_len))
