"""Documents: the unit that is split, de-duplicated and sampled; read from files or from the running interpreter."""

import gzip
import hashlib
import importlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from saint.data._embedded import EMBEDDED
from saint.errors import DataError

_EMBEDDED_PREFIX = "embedded:"
_CHUNK_BYTES = 1 << 20
_UNREADABLE = (OSError, UnicodeDecodeError, EOFError, zlib.error)


@final
@dataclass(frozen=True)
class Document:
    """One text that stays whole: it is in one split only, and counts as one observation."""

    text: str
    source: str
    """Where it was read, for people."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text's UTF-8 bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def num_bytes(self) -> int:
        """Length in UTF-8: what bits per byte are per."""
        return len(self.text.encode())


def read_documents(
    source: str, *, root: Path = Path(), text_key: str = "text", separator: str = ""
) -> Iterator[Document]:
    """The documents of one source, in a fixed order; empty ones are left out.

    Args:
        source: `embedded:code`, `embedded:prose`, `embedded:descriptions`, or a path or glob of .jsonl, .jsonl.gz,
            .jsonl.zst, .parquet, .txt, .txt.gz, .md, .py or other text files; a folder stands for all files in it.
        root: What a relative path is relative to.
        text_key: The field of a JSON line or column of a Parquet file that has the text.
        separator: Cuts a text file into documents; without one a text file is one document.

    Raises:
        DataError: Nothing is there, or a file cannot be read as what its name says.
    """
    if source.startswith(_EMBEDDED_PREFIX):
        name = source.removeprefix(_EMBEDDED_PREFIX)
        if name not in EMBEDDED:
            raise DataError(f"{source}: expected {' or '.join(_EMBEDDED_PREFIX + key for key in EMBEDDED)}")
        found: Iterator[tuple[str, str]] = EMBEDDED[name]()
    else:
        found = _read_files(_files(source, root), text_key, separator)
    for text, where in found:
        if text.strip():
            yield Document(text, where)


def read_json_objects(source: str, *, root: Path = Path()) -> Iterator[tuple[dict[str, Any], str]]:
    """The JSON objects of one source, in a fixed order, and where each was read.

    Args:
        source: A path or glob of .jsonl, .jsonl.gz or .jsonl.zst files, or of .json files of one object each, or a
            folder of them.
        root: What a relative path is relative to.

    Raises:
        DataError: Nothing is there, or a file is not one JSON object a line.
    """
    for file in _files(source, root):
        is_one = ".json" in file.suffixes[-2:]
        if ".jsonl" not in file.suffixes[-2:] and not is_one:
            raise DataError(f"{file} is not JSON lines; give .jsonl, .jsonl.gz, .jsonl.zst or .json files")
        try:
            with _open_text(file) as lines:
                for number, found in _json_lines([lines.read()] if is_one else lines, file):
                    if not isinstance(found, dict):
                        raise DataError(f"{file}:{number} is {type(found).__name__}; every line must be a JSON object")
                    yield found, f"{file.name}:{number}"
        except _UNREADABLE as error:
            raise _unreadable(file, error) from error


def _files(source: str, root: Path) -> list[Path]:
    path = root / source
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        files = [path]
    else:
        files = sorted(root.glob(source)) if not Path(source).is_absolute() else []
    if not files:
        raise DataError(f"{source}: no such file, folder or glob below {root.resolve()}; correct the path")
    return files


def _read_files(files: list[Path], text_key: str, separator: str) -> Iterator[tuple[str, str]]:
    for file in files:
        try:
            if file.suffix == ".parquet":
                yield from _read_parquet(file, text_key)
            elif ".jsonl" in file.suffixes[-2:]:
                with _open_text(file) as lines:
                    yield from _read_jsonl(lines, file, text_key)
            else:
                with _open_text(file) as content:
                    parts = content.read().split(separator) if separator else [content.read()]
                yield from ((part, f"{file.name}:{i}" if separator else file.name) for i, part in enumerate(parts))
        except _UNREADABLE as error:
            raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as UTF-8 text ({error}); convert it or leave it out")


def _open_text(file: Path) -> io.TextIOWrapper:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    if file.suffix == ".zst":
        return io.TextIOWrapper(io.BytesIO(b"".join(_decompress_zst(file))), encoding="utf-8")
    return file.open(encoding="utf-8")


def _decompress_zst(file: Path) -> Iterator[bytes]:
    """All frames of the file; `zstandard.open` stops after the first, and says nothing when one is cut short."""
    zstandard = _extra("zstandard", file)
    frame = None
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            while chunk:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                try:
                    yield frame.decompress(chunk)
                except zstandard.ZstdError as error:
                    raise OSError(f"not Zstandard: {error}") from error
                chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("the compressed file ends too early")


def _read_jsonl(lines: Iterable[str], file: Path, text_key: str) -> Iterator[tuple[str, str]]:
    for number, record in _json_lines(lines, file):
        text = record.get(text_key) if isinstance(record, dict) else None
        if not isinstance(text, str):
            keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise DataError(f"{file}:{number} has no text under {text_key!r} (it has {keys}); set text_key in the plan")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{file}:{number} has half a character ({error}); repair the line or leave it out"
            ) from error
        yield text, f"{file.name}:{number}"


def _json_lines(lines: Iterable[str], file: Path) -> Iterator[tuple[int, Any]]:
    """What each line that is not blank holds, with its number."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}:{number} is not JSON ({error}); every line must be one JSON object") from error
        yield number, found


def _read_parquet(file: Path, text_key: str) -> Iterator[tuple[str, str]]:
    parquet = _extra("pyarrow.parquet", file)
    try:
        table = parquet.ParquetFile(file)
    except ValueError as error:
        raise DataError(f"{file} is not a Parquet file ({error}); convert it or leave it out") from error
    if text_key not in table.schema_arrow.names:
        raise DataError(
            f"{file} has no column {text_key!r} (it has {', '.join(table.schema_arrow.names)}); set text_key"
        )
    rows = (value for batch in table.iter_batches(columns=[text_key]) for value in batch.column(0).to_pylist())
    for number, text in enumerate(rows):
        if not isinstance(text, str | None):
            raise DataError(f"{file}: row {number} of {text_key!r} is {type(text).__name__}, not text; set text_key")
        yield text or "", f"{file.name}:{number}"


def _extra(module: str, file: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(f"{file} needs the package {package}: pip install 'saint-g[data]'") from error
