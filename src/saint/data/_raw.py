"""Text read once and cut into tokens: raw shards, committed one by one, so that a killed run goes on after the last."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from saint import records
from saint.data._corpus import Tokens
from saint.data._documents import Document
from saint.data._splits import held_out_or_train
from saint.data._streams import TextStream
from saint.data._tokenizer import start_token
from saint.errors import DamagedTextError, DataError
from saint.folders import write_file
from saint.progress import Task

_TOGETHER = 128  # documents: enough for the tokenizer's threads, few enough for memory


class RawDocument(NamedTuple):
    """What is known of one document of a raw shard."""

    sha256: str
    split: str
    num_tokens: int
    num_bytes: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RawShard:
    """The record beside a raw shard; that it is there says that the shard is whole."""

    documents: tuple[RawDocument, ...]
    num_read: int
    """Documents of the stream that had been read when the shard was closed, copies included."""
    last_read: str
    """Digest of the last of them."""
    num_copies: int
    """How many of those were copies of earlier ones."""
    finished: bool
    """Whether the stream has nothing more to give."""
    sha256: str
    """Of the file of tokens."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RawFolder:
    """Where raw shards lie."""

    folder: Path

    def shards(self, stream: str) -> list[RawShard]:
        """The committed ones of a stream, in order.

        Raises:
            DamagedTextError: A record cannot be read.
        """
        found: list[RawShard] = []
        while (record := self._record(stream, len(found))).is_file():
            try:
                plain = json.loads(record.read_bytes())
                documents = tuple(RawDocument(*document) for document in plain.pop("documents"))
                found.append(RawShard(documents=documents, **plain))
            except (ValueError, TypeError, LookupError) as error:
                raise self._damaged(record) from error
        return found

    def tokens(self, stream: str, number: int, shard: RawShard) -> Tokens:
        """The tokens of a shard, memory-mapped.

        Raises:
            DamagedTextError: They are not those that were written.
        """
        file = self._file(stream, number)
        if not file.is_file() or records.file_digest(file) != shard.sha256:
            raise self._damaged(file)
        found: Tokens = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        if len(found) != sum(document.num_tokens for document in shard.documents):
            raise self._damaged(self._record(stream, number))
        return found

    def commit(self, stream: str, number: int, *, tokens: Sequence[Tokens], record: dict[str, Any]) -> None:
        """Write a shard and then its record."""
        written = write_file(self._file(stream, number), [npy_bytes(np.concatenate(tokens))])
        content = records.to_canonical({**record, "sha256": written})
        write_file(self._record(stream, number), [content.encode()])

    def _damaged(self, file: Path) -> DamagedTextError:
        return DamagedTextError(
            f"{file} is damaged, it is not what was written; remove {self.folder.parent} and prepare it again"
        )

    def _file(self, stream: str, number: int) -> Path:
        return self.folder / f"{stream}_{number:05d}.npy"

    def _record(self, stream: str, number: int) -> Path:
        return self._file(stream, number).with_suffix(".json")


def npy_bytes(tokens: Tokens) -> bytes:
    """The content of a .npy file."""
    content = io.BytesIO()
    np.save(content, tokens, allow_pickle=False)
    return content.getvalue()


@final
class Encoder:
    """Cuts texts into tokens behind a start token; what looks like a special token in a text is text."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._start = start_token(tokenizer)
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._dtype = token_dtype(len(tokenizer))

    def __call__(self, documents: Sequence[Document]) -> list[Tokens]:
        """Each document's tokens."""
        texts = [document.text for document in documents]
        return [self._row(found.ids) for found in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _row(self, ids: list[int]) -> Tokens:
        row = np.empty(len(ids) + 1, dtype=self._dtype)
        row[0], row[1:] = self._start, ids
        return row


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type that holds every token id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


@final
@dataclass(kw_only=True, slots=True)
class Reader:
    """Reads one stream to the end of its budget.

    What it writes depends on the stream and the settings only, and not on where earlier runs were stopped.
    """

    raw: RawFolder
    stream: TextStream
    encode: Encoder
    known: set[str]
    """Digests of the documents that are kept of this and earlier streams; grows."""
    budget: int
    """Most tokens of the stream's main split; 0 for no limit."""
    shard_tokens: int
    held_out_share: float
    task: Task
    _number: int = 0
    _num_read: int = 0
    _last_read: str = ""
    _num_copies: int = 0
    _spent: int = 0
    _pending: int = 0
    _full: bool = False
    _tokens: list[Tokens] = field(default_factory=list)
    _documents: list[RawDocument] = field(default_factory=list)

    def read(self) -> None:
        """Go on behind the last committed shard.

        Raises:
            DataError: The source is not what it was, or has no text.
            Interrupted: Whoever watches asked for a stop.
        """
        committed = self.raw.shards(self.stream.name)
        for shard in committed:
            self._remember(shard)
        if committed and committed[-1].finished:
            return
        for group in _groups(self._where_it_stopped(committed)):
            if not self._take(group):
                break
        self._commit(finished=True)

    def _remember(self, shard: RawShard) -> None:
        self.known.update(document.sha256 for document in shard.documents)
        self._number += 1
        self._num_read, self._last_read, self._num_copies = shard.num_read, shard.last_read, shard.num_copies
        spent = sum(one.num_tokens for one in shard.documents if one.split == self.stream.main_split)
        self._spent += spent
        self.task.advance(spent)

    def _where_it_stopped(self, committed: Sequence[RawShard]) -> Iterator[Document]:
        documents = self.stream.read()
        if not committed:
            return documents
        last = next(islice(documents, self._num_read - 1, None), None)
        if last is None or last.digest != self._last_read:
            raise DataError(
                f"document {self._num_read:,} of {self.stream.name} is not the one that was read before, so the source "
                "has changed; prepare it anew in another --output-dir"
            )
        return documents

    def _take(self, group: Sequence[Document]) -> bool:
        """Whether there is room for more after these documents."""
        encoded = dict(zip((document.digest for document in group), self.encode(group), strict=True))
        before = self._spent
        for document in group:
            self._full = not self._keep(document, encoded[document.digest])
            if self._full:
                break
            self._num_read, self._last_read = self._num_read + 1, document.digest
        self.task.advance(self._spent - before)
        return not self._full

    def _keep(self, document: Document, tokens: Tokens) -> bool:
        """Take a document unless it is a copy; False where the budget has no room for it."""
        if document.digest in self.known:
            self._num_copies += 1
            return True
        split = self.stream.split or held_out_or_train(document, self.held_out_share)
        main = split == self.stream.main_split
        if main and self.budget and self._spent + len(tokens) > self.budget:
            return False
        if self._tokens and self._pending + len(tokens) > self.shard_tokens:
            self._commit(finished=False)
        self._pending += len(tokens)
        self.known.add(document.digest)
        self._tokens.append(tokens)
        self._documents.append(RawDocument(document.digest, split, len(tokens), document.num_bytes))
        self._spent += len(tokens) * main
        return True

    def _commit(self, *, finished: bool) -> None:
        if not self._spent and finished:
            room = f" that fit into {self.budget:,} tokens" if self._full else ""
            raise DataError(
                f"{self.stream.name} has no {self.stream.main_split} documents{room}; give more text or a larger "
                "--max-tokens"
            )
        record = {
            "documents": self._documents,
            "num_read": self._num_read,
            "last_read": self._last_read,
            "num_copies": self._num_copies,
            "finished": finished,
        }
        self.raw.commit(self.stream.name, self._number, tokens=self._tokens, record=record)
        self._number += 1
        self._pending, self._tokens, self._documents = 0, [], []


def _groups(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while group := list(islice(documents, _TOGETHER)):
        yield group
