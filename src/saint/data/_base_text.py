"""Text to train a base on, from a source to token shards: read, tokenise, mix; it goes on wherever it was stopped."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saint import config, records
from saint.data._raw import Encoder, RawFolder, Reader
from saint.data._shards import SPLITS, Placed, check_file, described, read_manifest, write_manifest, write_split
from saint.data._splits import held_out_or_train
from saint.data._streams import TextStream, streams_of
from saint.data._tokenizer import TokenizerSort, train_tokenizer
from saint.errors import ConfigError, DamagedTextError, DataError
from saint.folders import alone_in, flush_folder, write_file
from saint.progress import Progress, Silent

_RAW = "_raw"
_PLAN = "plan.json"
_TOKENIZER = "tokenizer"
_BEGINNING = (_PLAN, f".{_PLAN}.draft", _TOKENIZER)  # what is in _raw after a run that came to nothing
_SAMPLE_BYTES = 1 << 24  # of each language: more text changes the merges little
_BALANCED = 0.9  # of the largest language's tokens: less is worth a word
_BYTES_PER_TOKEN = 8  # generous: about what the tokenizer is trained on is what will be tokenised


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextPlan:
    """Which text a base is to be trained on, and in what pieces."""

    source: str = "wikipedia"
    """A folder, `datasets:NAME`, `datasets:NAME:CONFIGURATION`, `wikipedia` or `culturax`."""
    langs: tuple[str, ...] = ("en", "pt", "es", "fr", "de")
    """Each gets an equal part of `max_tokens`."""
    max_tokens: int = 0
    """Most training tokens of all languages together, start tokens included; 0 for all there are."""
    vocab_size: int = 50_000
    """Of the tokenizer that is made from the text."""
    tokenizer: TokenizerSort = field(default="bpe", metadata=records.LATER)
    """Byte-level BPE, or of characters: an id for each, and for frequent pairs and triples."""
    shard_tokens: int = 5_000_000
    """Most tokens of a shard, unless one document is longer."""
    held_out_share: float = 0.01
    """Share of the documents that go to `val`, and to `test`, where the source has not cut them already."""
    text_key: str = "text"
    """Field or column of the text."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.langs or "" in self.langs or len(set(self.langs)) < len(self.langs):
            raise ConfigError(f"--langs is {','.join(self.langs)!r}; give different languages, such as en,pt")
        if self.max_tokens < 0 or self.shard_tokens < 1:
            raise ConfigError("--max-tokens must not be negative and --shard-size must be at least 1")
        if not 0 <= self.held_out_share < 0.5:
            raise ConfigError(f"--held-out-share is {self.held_out_share}; give at least 0 and less than 0.5")


def prepare_text(given: Mapping[str, Any], folder: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Read the source, train a tokenizer, tokenise, and finish; returns the manifest.

    Where an earlier run was stopped, or killed, it goes on, to the same bytes as if nothing had happened.

    Args:
        given: Fields of `TextPlan`; of a folder that was begun those that are not given are taken from there.
        folder: Becomes `manifest.json`, `tokenizer`, `train`, `val`, `test`, and `_raw` with what was read.

    Raises:
        ConfigError: The folder was begun with other options.
        DataError: Something else is in the folder, a language is missing or has no text, or the source has changed.
        DamagedTextError: What an earlier run wrote was changed.
        RemoteError: A dataset cannot be reached.
        BusyError: Another process prepares the same folder.
        Interrupted: Whoever watches asked for a stop.
    """
    progress = progress or Silent()
    with alone_in(folder):
        plan = _begun(folder, given) or _begin(folder, given)
        manifest = _finished(folder)
        if manifest is None:
            streams = _streams(folder, plan)
            tokenizer = _tokenizer(folder) or _train_tokenizer(folder, plan, streams, progress)
            _read(folder, plan, streams, Encoder(tokenizer), progress)
            manifest = _finish(folder, plan, progress)
        return manifest


def finalize_text(given: Mapping[str, Any], folder: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Make the shards from what was read, without a look at the source; returns the manifest.

    Raises:
        DataError: Nothing was read, or not everything.
        ConfigError: The folder was begun with other options.
        DamagedTextError: What an earlier run wrote was changed.
        BusyError: Another process prepares the same folder.
    """
    nothing = f"{folder} has no raw shards to finalize; run the command without --finalize first"
    if not folder.is_dir():
        raise DataError(nothing)
    with alone_in(folder):
        plan = _begun(folder, given)
        manifest = _finished(folder)
        if manifest is None:
            if plan is None or not any((folder / _RAW).glob("*.npy")):
                raise DataError(nothing)
            manifest = _finish(folder, plan, progress or Silent())
        return manifest


def clean_raw(folder: Path) -> None:
    """Remove what was read, once the shards made of it are finished.

    Raises:
        DataError: They are not.
    """
    with alone_in(folder):
        if _finished(folder) is None:
            raise DataError(
                f"{folder} is not finished, so its raw shards are needed; run the command without --clean-raw"
            )
        shutil.rmtree(folder / _RAW, ignore_errors=True)


def _begun(folder: Path, given: Mapping[str, Any]) -> TextPlan | None:
    """The plan that a folder was begun with, if it agrees with what is given; None as long as nothing was made."""
    manifest = read_manifest(folder)
    plain = manifest["options"] if manifest else _begun_in(folder).get("options")
    if plain is None or not (folder / _TOKENIZER).is_dir():
        return None
    must_agree(folder, plain, given)
    return config.build(plain, TextPlan, where=str(folder))


def must_agree(folder: Path, options: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse options that are not those which a folder was made with.

    Raises:
        ConfigError: One is another.
    """
    begun = config.build(options, TextPlan, where=str(folder))  # with what older ones do not spell
    for name, value in given.items():
        before = getattr(begun, name)
        if records.to_plain(before) != records.to_plain(value):
            raise ConfigError(
                f"{folder} was begun with {name} {_spelt(before)}, and now it is {_spelt(value)}; give the same "
                "options, or another folder"
            )


def _spelt(value: Any) -> str:
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def _begun_in(folder: Path) -> dict[str, Any]:
    """The options and streams that reading began with; nothing where it has not begun."""
    file = folder / _RAW / _PLAN
    if not file.is_file():
        return {}
    try:
        begun: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise DamagedTextError(f"{file} cannot be read ({error}); remove {folder} and prepare it again") from error
    return begun


def _begin(folder: Path, given: Mapping[str, Any]) -> TextPlan:
    """Write down the plan: what is given, and otherwise what an earlier run that came to nothing was given."""
    plain = {**_begun_in(folder).get("options", {}), **records.to_plain(given)}
    plan = config.build(plain, TextPlan, where=str(folder))
    if plan.max_tokens and plan.max_tokens < len(plan.langs):
        raise ConfigError(
            f"--max-tokens is {plan.max_tokens}, nothing for each of {len(plan.langs)} languages; raise it"
        )
    foreign = [path.name for path in folder.iterdir() if path.name != _RAW]
    foreign += [path.name for path in (folder / _RAW).glob("*") if path.name not in _BEGINNING]
    if foreign:
        raise DataError(f"{folder} has other files in it, such as {min(foreign)}; give a new folder")
    streams = streams_of(plan.source, plan.langs, text_key=plan.text_key)  # found out before anything is written
    (folder / _RAW).mkdir(exist_ok=True)
    flush_folder(folder)
    begun = {"options": plan, "streams": [(stream.lang, stream.split) for stream in streams]}
    write_file(folder / _RAW / _PLAN, [records.to_canonical(begun).encode()])
    return plan


def _streams(folder: Path, plan: TextPlan) -> list[TextStream]:
    streams = streams_of(plan.source, plan.langs, text_key=plan.text_key)
    if [[stream.lang, stream.split] for stream in streams] != _begun_in(folder)["streams"]:
        raise DataError(f"{plan.source} has other files than before; prepare it anew in another --output-dir")
    return streams


def _finished(folder: Path) -> dict[str, Any] | None:
    """The manifest, if every file is there."""
    manifest = read_manifest(folder)
    for name in manifest["files"] if manifest else ():
        check_file(folder, manifest or {}, name, verify=False)
    return manifest


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast | None:
    place = folder / _TOKENIZER
    return PreTrainedTokenizerFast.from_pretrained(place) if place.is_dir() else None


def _train_tokenizer(
    folder: Path, plan: TextPlan, streams: list[TextStream], progress: Progress
) -> PreTrainedTokenizerFast:
    most = _BYTES_PER_TOKEN * (plan.max_tokens // len(plan.langs)) or _SAMPLE_BYTES
    draft = folder / _RAW / _TOKENIZER
    shutil.rmtree(draft, ignore_errors=True)
    with progress.task("training the tokenizer", total=None, unit="documents") as task:

        def texts() -> Iterator[str]:
            for stream in streams:
                for text in _sample(stream, plan.held_out_share, min(most, _SAMPLE_BYTES)):
                    yield text
                    task.advance(1)

        tokenizer = train_tokenizer(texts(), vocab_size=plan.vocab_size, sort=plan.tokenizer)
    if len(tokenizer) < plan.vocab_size:
        progress.note(f"the text has pairs for a vocabulary of {len(tokenizer):,}; {plan.vocab_size:,} was asked for")
    tokenizer.save_pretrained(draft)
    for file in sorted(draft.iterdir()):
        write_file(file, [file.read_bytes()])
    draft.rename(folder / _TOKENIZER)
    flush_folder(folder)
    return tokenizer


def _sample(stream: TextStream, held_out_share: float, num_bytes: int) -> Iterator[str]:
    """The first training documents of a stream."""
    if stream.main_split != "train":
        return
    for document in stream.read():
        if stream.split or held_out_or_train(document, held_out_share) == "train":
            yield document.text
            num_bytes -= document.num_bytes
            if num_bytes <= 0:
                return


def _read(folder: Path, plan: TextPlan, streams: list[TextStream], encode: Encoder, progress: Progress) -> None:
    known: set[str] = set()
    budget = plan.max_tokens // len(plan.langs)
    for stream in streams:
        with progress.task(f"reading {stream.name}", total=budget or None, unit="tokens") as task:
            Reader(
                raw=RawFolder(folder=folder / _RAW),
                stream=stream,
                encode=encode,
                known=known,
                budget=budget,
                shard_tokens=plan.shard_tokens,
                held_out_share=plan.held_out_share,
                task=task,
            ).read()


def _finish(folder: Path, plan: TextPlan, progress: Progress) -> dict[str, Any]:
    """Mix what was read and write it; what an earlier run left half done is written over with the same bytes."""
    placed, num_copies = _placed(folder)
    total = sum(document.num_tokens for found in placed.values() for document in found.documents)
    files: dict[str, dict[str, Any]] = {}
    splits: dict[str, dict[str, Any]] = {}
    with progress.task("writing shards", total=total, unit="tokens") as task:
        for split in [split for split in SPLITS if placed[split].documents]:
            written, splits[split] = write_split(folder / split, placed[split], plan.shard_tokens, task)
            files |= {f"{split}/{name}": found for name, found in written.items()}
    for split in set(SPLITS) - splits.keys():
        progress.note(f"nothing is held out as {split}; for that, give more text or a larger --held-out-share")
    _note_imbalance(splits["train"], progress)
    tokenizer = AutoTokenizer.from_pretrained(folder / _TOKENIZER)
    files |= {f"{_TOKENIZER}/{file.name}": described(file) for file in (folder / _TOKENIZER).iterdir()}
    manifest = {
        "options": records.to_plain(plan),
        "tokenizer": records.tokenizer_digest(tokenizer),
        "vocab_size": len(tokenizer),
        "splits": splits,
        "num_copies": num_copies,
        "files": files,
    }
    write_manifest(folder, manifest)
    return manifest


def _placed(folder: Path) -> tuple[dict[str, Placed], int]:
    """What was read, by split, and how many copies were left out."""
    raw = RawFolder(folder=folder / _RAW)
    placed = {split: Placed() for split in SPLITS}
    num_copies = 0
    for lang, of_split in _begun_in(folder)["streams"]:
        name = TextStream.name_of(lang, of_split)
        shards = raw.shards(name)
        if not shards or not shards[-1].finished:
            raise DataError(f"{name} is not read to its end; run the command without --finalize again")
        num_copies += shards[-1].num_copies
        for number, shard in enumerate(shards):
            tokens = raw.tokens(name, number, shard)
            ends = np.cumsum([document.num_tokens for document in shard.documents]).tolist()
            for document, end in zip(shard.documents, ends, strict=True):
                placed[document.split].add(document, lang, tokens[end - document.num_tokens : end])
    return placed, num_copies


def _note_imbalance(train: Mapping[str, Any], progress: Progress) -> None:
    """Say which languages have less than their part; a budget is missed by less than a document otherwise."""
    most = max(sums["num_tokens"] for sums in train["langs"].values())
    for lang, sums in train["langs"].items():
        if sums["num_tokens"] < _BALANCED * most:
            progress.note(
                f"{lang} has {sums['num_tokens']:,} training tokens where another language has {most:,}; for equal "
                "parts give more text or a smaller --max-tokens"
            )
