"""Where the text that a base is trained on comes from: streams of documents, by language, from files or a dataset."""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from saint.data._documents import Document, read_documents
from saint.errors import DataError, MissingPackageError, RemoteError

_DATASETS = "datasets:"
NICKNAMES: Mapping[str, str] = MappingProxyType(
    {
        "wikipedia": "datasets:wikimedia/wikipedia:20231101.{lang}",
        "culturax": "datasets:uonlp/CulturaX:{lang}",
    }
)
"""Sources that have a short name."""

_SPLITS = MappingProxyType(
    {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
)
_BETWEEN_PARTS = re.compile(r"[./]")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextStream:
    """The documents of one language, in a fixed order."""

    lang: str
    split: str
    """The split that whoever made the files put them in; empty where documents are yet to be assigned."""
    read: Callable[[], Iterator[Document]]
    """Starts again from the first document each time."""

    @property
    def name(self) -> str:
        """Names the raw shards."""
        return self.name_of(self.lang, self.split)

    @staticmethod
    def name_of(lang: str, split: str) -> str:
        """The name of a stream of that language and split."""
        return f"{lang}.{split}" if split else lang

    @property
    def main_split(self) -> str:
        """The split whose budget ends the stream."""
        return self.split or "train"


def streams_of(source: str, langs: tuple[str, ...], *, text_key: str) -> list[TextStream]:
    """The streams of a source: what is held out comes first, so that its documents are known when training ones come.

    Args:
        source: A folder with files named `LANG.*` or lying in folders named `LANG`; the next part of the name may say
            train, val or test. Or `datasets:NAME` or `datasets:NAME:CONFIGURATION`, read with the package datasets,
            where `{lang}` in CONFIGURATION stands for the language (it is `{lang}` unless given) and NAME may be a
            local folder. Or one of `NICKNAMES`.
        text_key: The field or column that has the text.

    Raises:
        DataError: The source or one of its languages is not there.
    """
    source = NICKNAMES.get(source, source)
    if source.startswith(_DATASETS):
        name, _, configuration = source.removeprefix(_DATASETS).partition(":")
        spelt = configuration or "{lang}"
        return [_dataset_stream(name, spelt.replace("{lang}", lang), lang, text_key) for lang in langs]
    root = Path(source)
    if not root.is_dir():
        raise DataError(
            f"--source is {source}, which is no folder; give a folder of files named by language, datasets:NAME, "
            f"{' or '.join(NICKNAMES)}"
        )
    found = [stream for lang in langs for stream in _file_streams(root, lang, text_key)]
    return sorted(found, key=lambda stream: stream.main_split == "train")


def _file_streams(root: Path, lang: str, text_key: str) -> list[TextStream]:
    by_split: dict[str, list[Path]] = {}
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        first, *rest = _BETWEEN_PARTS.split(file.relative_to(root).as_posix())
        if first == lang:
            by_split.setdefault(_SPLITS.get(rest[0].lower(), "") if rest else "", []).append(file)
    if not by_split:
        raise DataError(
            f"language {lang!r} is missing: {root} has no file named {lang}.* and no folder {lang}; correct --langs or "
            "--source"
        )
    if by_split.keys() & {"val", "test"}:  # others have cut it already; what is not named is training text
        by_split["train"] = by_split.pop("", []) + by_split.pop("train", [])
        if not by_split["train"]:
            raise DataError(f"language {lang!r} has no training files below {root}; name some {lang}.train.*")
    else:
        by_split = {"": sorted(file for files in by_split.values() for file in files)}
    return [_file_stream(lang, split, tuple(by_split[split]), text_key) for split in sorted(by_split)]


def _file_stream(lang: str, split: str, files: tuple[Path, ...], text_key: str) -> TextStream:
    def read() -> Iterator[Document]:
        for file in files:
            yield from read_documents(file.name, root=file.parent, text_key=text_key)

    return TextStream(lang=lang, split=split, read=read)


def _dataset_stream(name: str, configuration: str, lang: str, text_key: str) -> TextStream:
    def read() -> Iterator[Document]:
        return _read_dataset(name, configuration, lang, text_key)

    return TextStream(lang=lang, split="", read=read)


def _read_dataset(name: str, configuration: str, lang: str, text_key: str) -> Iterator[Document]:
    datasets = _import_datasets(name)
    where = f"{name} ({configuration})"
    try:
        for number, row in enumerate(_open_dataset(datasets, name, configuration, lang)):
            text = row.get(text_key)
            if not isinstance(text, str):
                raise DataError(f"{where} has no text under {text_key!r} (it has {', '.join(row)}); set --text-key")
            if text.strip():
                yield Document(text, f"{where}:{number}")
    except OSError as error:
        raise RemoteError(
            f"the dataset {where} could not be reached ({_first_line(error)}); run the same command again when there "
            "is a network, or give a folder as --source"
        ) from error
    except datasets.exceptions.DatasetsError as error:
        raise DataError(f"the dataset {where} cannot be read ({_first_line(error)}); repair it") from error


def _open_dataset(datasets: Any, name: str, configuration: str, lang: str) -> Any:
    try:
        return datasets.load_dataset(name, configuration, split="train", streaming=True)
    except (FileNotFoundError, ValueError) as error:  # of no such dataset, and of no such configuration of it
        raise DataError(
            f"language {lang!r} is missing: there is no dataset {name} with a configuration {configuration} and a "
            f"split train ({_first_line(error)}); correct --langs or --source"
        ) from error


def _import_datasets(name: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise MissingPackageError(
            f"the dataset {name} needs the package datasets: pip install 'saint-g[data]'"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
