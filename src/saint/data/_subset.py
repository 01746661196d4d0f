"""A smaller text out of a larger one: its first shards, linked or copied, and the documents of the next that fit."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saint import records
from saint.data._base_text import must_agree
from saint.data._raw import npy_bytes
from saint.data._shards import (
    LIST,
    MANIFEST,
    TokenShards,
    check_file,
    described,
    line_of,
    list_documents,
    open_shards,
    read_manifest,
    sums_of,
    write_manifest,
)
from saint.errors import ConfigError, DamagedTextError, DataError, StorageError
from saint.folders import alone_in, flush_folder, write_file
from saint.progress import Progress, Silent, Task

CopyMode = Literal["hardlink", "copy"]
_NO_LINKS_HERE = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)
_CHUNK_BYTES = 1 << 24

_Place = Callable[[Path, Path, str], None]
"""Puts a file of the source under another name, given the SHA-256 that it must have."""


def derive_subset(
    source: Path,
    folder: Path,
    *,
    max_tokens: int,
    copy_mode: CopyMode = "copy",
    given: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Take the first `max_tokens` training tokens of finished text, and all that it holds out; returns the manifest.

    Because the source is mixed evenly, the subset has its languages in the same proportion. It appears whole or not
    at all; what a killed run left is thrown away by the next. A hard link that the file systems do not allow becomes a
    copy, and that is said.

    Args:
        max_tokens: Fewer by less than a document are taken: documents stay whole.
        given: Fields of `TextPlan` that must be those of the source.

    Raises:
        ConfigError: `max_tokens` is not positive, or something given is not what the source was made with.
        DataError: The source is not finished, or has too few tokens, or `folder` has something else in it.
        DamagedTextError: A file of the source was changed.
        BusyError: Another process derives the same folder.
        StorageError: The disk refused.
    """
    if max_tokens < 1:
        raise ConfigError(f"--max-tokens is {max_tokens}; a subset needs a number of tokens above 0")
    opened = open_shards(source)
    must_agree(source, opened.manifest["options"], given or {})
    if max_tokens > opened.train.num_tokens:
        raise DataError(
            f"a subset of {max_tokens:,} tokens is larger than its source: {source} has {opened.train.num_tokens:,} "
            "training tokens; give a smaller --max-tokens"
        )
    derived_from = {"manifest": records.file_digest(source / MANIFEST), "max_tokens": max_tokens}
    if folder.exists():
        return _same(folder, derived_from)
    draft = folder.parent / f".{folder.name}.draft"
    with alone_in(draft):
        try:
            _empty(draft)
            manifest = _derive(
                opened, draft, derived_from, _placer(copy_mode, progress or Silent()), progress or Silent()
            )
            draft.rename(folder)
            flush_folder(folder.parent)
        except OSError as error:
            raise StorageError(f"{folder} was not written ({error}); choose another place") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _same(folder: Path, derived_from: Mapping[str, Any]) -> dict[str, Any]:
    manifest = read_manifest(folder) or {}
    if manifest.get("derived_from") != derived_from:
        raise DataError(f"{folder} exists already and is not this subset; give the path of a new folder")
    return manifest


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _derive(
    source: TokenShards, folder: Path, derived_from: Mapping[str, Any], place: _Place, progress: Progress
) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    whole = [name for name in source.manifest["files"] if not name.startswith("train/")]
    for name in whole:
        _put(source, folder, name, place)
        files[name] = source.manifest["files"][name]
    with progress.task("deriving", total=derived_from["max_tokens"], unit="tokens") as task:
        taken, sums = _derive_train(source, folder, derived_from["max_tokens"], place, task)
    manifest = {
        **source.manifest,
        "options": {**source.manifest["options"], "max_tokens": derived_from["max_tokens"]},
        "splits": {**source.manifest["splits"], "train": sums},
        "files": files | taken,
        "derived_from": dict(derived_from),
    }
    write_manifest(folder, manifest)
    return manifest


def _derive_train(
    source: TokenShards, folder: Path, max_tokens: int, place: _Place, task: Task
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Fill the folder's `train`; (name of file -> size and SHA-256, what it holds)."""
    (folder / "train").mkdir()
    corpus, files = source.train, {}
    num_documents = int(np.searchsorted(np.cumsum(corpus.num_tokens_each), max_tokens, side="right"))
    if not num_documents:
        raise DataError(f"the first document has more than {max_tokens:,} tokens; give a larger --max-tokens")
    left = int(corpus.num_tokens_each[:num_documents].sum())
    for number, length in enumerate(map(len, corpus.shards)):
        if not left:
            break
        name = f"train/shard_{number:05d}.npy"
        if length <= left:
            _put(source, folder, name, place)
            files[name] = source.manifest["files"][name]
        else:
            check_file(source.folder, source.manifest, name, verify=True)
            write_file(folder / name, [npy_bytes(corpus.shards[number][:left])])
            files[name] = described(folder / name)
        task.advance(min(length, left))
        left -= min(length, left)
    check_file(source.folder, source.manifest, f"train/{LIST}", verify=True)
    listed = list_documents(source.folder / "train")[:num_documents]
    write_file(folder / "train" / LIST, map(line_of, listed))
    files[f"train/{LIST}"] = described(folder / "train" / LIST)
    return files, sums_of(listed)


def _put(source: TokenShards, folder: Path, name: str, place: _Place) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    place(source.folder / name, folder / name, source.manifest["files"][name]["sha256"])


def _placer(copy_mode: CopyMode, progress: Progress) -> _Place:
    said: list[str] = []

    def link(file: Path, target: Path, sha256: str) -> None:
        if said:
            _copy(file, target, sha256)
            return
        if records.file_digest(file) != sha256:
            raise _damaged(file)
        try:
            os.link(file, target)
        except OSError as error:
            if error.errno not in _NO_LINKS_HERE:
                raise StorageError(f"{target} was not linked ({error}); use --subset-copy-mode copy") from error
            said.append(f"{target.parent} can have no hard links to {file.parent} ({error.strerror}): copying instead")
            progress.note(said[0])
            _copy(file, target, sha256)

    return link if copy_mode == "hardlink" else _copy


def _copy(file: Path, target: Path, sha256: str) -> None:
    if write_file(target, _chunks(file)) != sha256:
        raise _damaged(file)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk


def _damaged(file: Path) -> DamagedTextError:
    return DamagedTextError(f"{file} is damaged: its SHA-256 is not the manifest's; prepare the text again")
