"""Token shards that a base is trained on: written once with a manifest, opened by memory-mapping."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int64
from transformers import AutoTokenizer

from saint import records
from saint.data._corpus import Corpus, Tokens
from saint.data._prepared import open_corpus
from saint.data._raw import RawDocument, npy_bytes
from saint.errors import ConfigError, DamagedTextError, DataError, NewerFormatError
from saint.folders import flush_folder, write_file
from saint.progress import Task

MANIFEST = "manifest.json"
LIST = "documents.jsonl"
_SUMS = ("num_documents", "num_tokens", "num_bytes")
SPLITS = ("train", "val", "test")
_KIND = "token shards"
_FORMAT = 1


@final
@dataclass(frozen=True, kw_only=True)
class TokenShards:
    """Text to train a base on: documents of all languages, mixed evenly, each behind a start token."""

    folder: Path
    manifest: Mapping[str, Any]
    """The options that made it, sizes of splits and languages, and the size and SHA-256 of every file."""
    corpora: Mapping[str, Corpus]
    """`train`, and `val` and `test` where something is held out; they share no document."""

    @property
    def train(self) -> Corpus:
        """What a base learns from; any beginning of it has the languages in the proportion of the whole."""
        return self.corpora["train"]

    @property
    def vocab_size(self) -> int:
        """Tokens that the tokenizer has; every id is below."""
        return int(self.manifest["vocab_size"])

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer that made the tokens.

        Raises:
            DamagedTextError: The one in the folder is another.
        """
        tokenizer = AutoTokenizer.from_pretrained(self.folder / "tokenizer")
        if records.tokenizer_digest(tokenizer) != self.manifest["tokenizer"] or len(tokenizer) != self.vocab_size:
            raise DamagedTextError(
                f"{self.folder / 'tokenizer'} has a vocabulary of {len(tokenizer):,} and is not the tokenizer that "
                f"made the shards, whose vocabulary is {self.vocab_size:,}; put that one back or prepare the text again"
            )
        return tokenizer

    def of_language(self, split: str, lang: str) -> Corpus:
        """The documents of one language in a split, as a corpus of their own, in memory.

        Raises:
            DataError: There are none.
        """
        corpus = self.corpora.get(split)
        places = (
            []
            if corpus is None
            else [i for i, one in enumerate(list_documents(self.folder / split)) if one["lang"] == lang]
        )
        if corpus is None or not places:
            raise DataError(
                f"{self.folder} has no {split} text of language {lang!r}; it has {', '.join(self.corpora)} of "
                f"{', '.join(self.manifest['options']['langs'])}"
            )
        return corpus.take(np.array(places))

    def must_fit(self, vocab_size: int) -> None:
        """Refuse a model that has no row for some token.

        Raises:
            ConfigError: Its vocabulary is smaller than the shards'.
        """
        if vocab_size < self.vocab_size:
            raise ConfigError(
                f"the model has a vocabulary of {vocab_size:,} and the shards in {self.folder} one of "
                f"{self.vocab_size:,}; set vocab_size to at least that, or prepare text with a smaller --vocab-size"
            )


def open_shards(folder: str | Path, *, verify: bool = False) -> TokenShards:
    """The shards in a folder that `saint data prepare` finished, memory-mapped.

    Args:
        verify: Read everything once: hash every file, and look for token ids that the tokenizer does not have.

    Raises:
        DataError: The folder has none, or they are not finished.
        DamagedTextError: A file is not the one that the manifest describes.
        NewerFormatError: A newer version wrote them.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder} has no {MANIFEST}, so it is no finished text; run `saint data prepare` to the end")
    for name in manifest["files"]:
        check_file(folder, manifest, name, verify=verify)
    corpora = {split: open_corpus(folder / split, split, manifest["tokenizer"]) for split in manifest["splits"]}
    shards = TokenShards(folder=folder, manifest=manifest, corpora=corpora)
    for split, corpus in corpora.items():
        _check_corpus(folder / split, corpus)
        if verify and max(int(shard.max()) for shard in corpus.shards) >= len(shards.tokenizer):
            raise DamagedTextError(f"{folder / split} has token ids beyond its tokenizer's; prepare the text again")
    return shards


def _check_corpus(folder: Path, corpus: Corpus) -> None:
    for number, shard in enumerate(corpus.shards):
        if not len(shard):
            raise DataError(f"{folder}: shard {number} is empty; prepare the text again")
    if sum(len(shard) for shard in corpus.shards) != corpus.num_tokens or not corpus.num_tokens:
        raise DamagedTextError(f"{folder}: the shards and documents.jsonl do not fit together; prepare the text again")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of finished shards; None where there is none.

    Raises:
        DataError: It is of something else.
        DamagedTextError: It is no JSON object.
        NewerFormatError: A newer version wrote it.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        kind, written_format = manifest.get("kind"), manifest.get("format")
    except (ValueError, AttributeError) as error:
        raise DamagedTextError(f"{file} cannot be read ({error}); prepare the text again") from error
    if kind != _KIND:
        raise DataError(f"{folder} holds splits for growth, not token shards; prepare text without a PLAN")
    if written_format != _FORMAT:
        raise NewerFormatError(
            f"{folder} has shards of format {written_format}, this version reads {_FORMAT}; update saint-g"
        )
    return manifest


def check_file(folder: Path, manifest: Mapping[str, Any], name: str, *, verify: bool) -> None:
    """Hold a file against the manifest.

    Raises:
        DamagedTextError: It is missing or another.
    """
    file, expected = folder / name, manifest["files"][name]
    size = file.stat().st_size if file.is_file() else None
    if size != expected["num_bytes"]:
        raise DamagedTextError(
            f"{file} is damaged: it should have {expected['num_bytes']:,} bytes and "
            f"{'is missing' if size is None else f'has {size:,}'}; prepare the text again"
        )
    if verify and records.file_digest(file) != expected["sha256"]:
        raise DamagedTextError(f"{file} is damaged: its SHA-256 is not the manifest's; prepare the text again")


@final
@dataclass(kw_only=True, slots=True)
class Placed:
    """Documents of one split before they are written: what is known of each, its language, and its tokens."""

    documents: list[RawDocument] = field(default_factory=list)
    langs: list[str] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)

    def add(self, document: RawDocument, lang: str, tokens: Tokens) -> None:
        """Put one more in."""
        self.documents.append(document)
        self.langs.append(lang)
        self.tokens.append(tokens)

    @property
    def order(self) -> Int64[np.ndarray, " documents"]:
        """Their places in the mix: a document of a language comes where as much of that language has come as of others.

        Within a language they are ordered by digest, which is as good as chance and depends on the text only.
        """
        sizes = np.array([document.num_tokens for document in self.documents], dtype=np.int64)
        langs = np.array(self.langs)
        by_digest = np.argsort(np.array([document.sha256 for document in self.documents]), kind="stable")
        share = np.zeros(len(sizes))
        for lang in np.unique(langs):
            members = by_digest[langs[by_digest] == lang]
            ends = np.cumsum(sizes[members])
            share[members] = (ends - sizes[members]) / ends[-1]
        return np.lexsort((by_digest.argsort(), share))


def write_split(
    folder: Path, placed: Placed, shard_tokens: int, task: Task
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Write the shards and the list of documents of a split; (name of file -> size and SHA-256, what it holds)."""
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)
    order = placed.order.tolist()
    files = {}
    for number, piece in enumerate(_pieces(order, placed, shard_tokens)):
        tokens = np.concatenate([placed.tokens[index] for index in piece])
        name = f"shard_{number:05d}.npy"
        files[name] = _written(folder / name, [npy_bytes(tokens)])
        task.advance(len(tokens))
    listed = [_listing(placed, index) for index in order]
    files[LIST] = _written(folder / LIST, map(line_of, listed))
    return files, sums_of(listed)


def _pieces(order: Iterable[int], placed: Placed, shard_tokens: int) -> Iterator[list[int]]:
    """Whole documents up to `shard_tokens` tokens together, unless one document is longer."""
    piece: list[int] = []
    size = 0
    for index in order:
        length = placed.documents[index].num_tokens
        if piece and size + length > shard_tokens:
            yield piece
            piece, size = [], 0
        piece.append(index)
        size += length
    if piece:
        yield piece


def _written(file: Path, parts: Iterable[bytes]) -> dict[str, Any]:
    sha256 = write_file(file, parts)
    return {"sha256": sha256, "num_bytes": file.stat().st_size}


def described(file: Path) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"sha256": records.file_digest(file), "num_bytes": file.stat().st_size}


def _listing(placed: Placed, index: int) -> dict[str, Any]:
    document = placed.documents[index]
    return {
        "sha256": document.sha256,
        "num_tokens": document.num_tokens,
        "num_bytes": document.num_bytes,
        "lang": placed.langs[index],
    }


def line_of(listing: Mapping[str, Any]) -> bytes:
    """A document's line in the list of a split."""
    return (records.to_canonical(listing) + "\n").encode()


def sums_of(listed: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Documents, tokens and bytes of a split, and of each language in it."""
    langs: dict[str, dict[str, int]] = {}
    for document in listed:
        sums = langs.setdefault(document["lang"], dict.fromkeys(_SUMS, 0))
        sums["num_documents"] += 1
        sums["num_tokens"] += document["num_tokens"]
        sums["num_bytes"] += document["num_bytes"]
    return {**{key: sum(sums[key] for sums in langs.values()) for key in _SUMS}, "langs": langs}


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Say that a folder is finished."""
    content = records.to_canonical({"kind": _KIND, "format": _FORMAT, **manifest})
    write_file(folder / MANIFEST, [content.encode()])


def list_documents(folder: Path) -> list[dict[str, Any]]:
    """What the list of a split says of each document, in order."""
    return [json.loads(line) for line in (folder / LIST).read_text(encoding="utf-8").splitlines()]
