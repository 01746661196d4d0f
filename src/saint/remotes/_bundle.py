"""One file with a whole registry, for where no network goes: the plainest tar there is.

The first member is `index.json`, which says what each file is called and which bytes it has; all others are named by
the SHA-256 of their bytes and follow in the index's order. `tar`, `sha256sum` and a text editor are enough to read it.
Reading it here parses nothing but the index: every header must be, byte for byte, the one that writing makes for that
name and size, so that links, paths, other kinds of members and tar's many extensions have no way in. Nothing is
compressed, so nothing can unfold into more than the file holds.
"""

import hashlib
import json
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from typing_extensions import override

from saint import records
from saint.errors import ConfigError, LedgerError, RemoteContentError, RemoteError, StorageError
from saint.progress import Progress, Silent
from saint.registry import Registry
from saint.remotes._names import Caps, blob_name, entry_name, is_name
from saint.remotes._push import beside_of, entry_of, names_of
from saint.remotes._remote import AbsentError, Remote

_FORMAT = 1
_INDEX = "index.json"
_BLOCK = 512
_MOST_INDEX_BYTES = 256 << 20
_PIECE_BYTES = 1 << 20
_SIZE = re.compile(rb"[0-7]{11}\x00")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """What went into a bundle."""

    num_entries: int
    num_files: int
    num_bytes: int
    """Of the bundle."""


def bundle(registry: Registry, file: Path, *, progress: Progress | None = None) -> Bundled:
    """Write the whole registry into one new file; equal registries give equal files.

    Raises:
        ConfigError: The file exists.
        LedgerError: The registry does not verify.
        StorageError: The disk refused; nothing is left.
    """
    progress = progress or Silent()
    events = registry.ledger.reread()
    digests = sorted({digest for event in events for digest in event.blobs})
    entries = [entry_name(event.number) for event in events]
    names = [*names_of(registry), *map(blob_name, digests), *entries, *beside_of(registry)]
    known = {blob_name(digest): digest for digest in digests} | {entry_name(one.number): one.digest for one in events}
    for event in events:
        entry_of(registry, event)
    if file.exists():
        raise ConfigError(f"{file} exists already; give the name of a new file")
    try:
        listed = [_listed(registry, name, known.get(name)) for name in names]
        with _new_file(file) as draft, progress.task("files", total=len(listed), unit="files") as task:
            _write_all(registry, listed, draft, task.advance)
    except FileNotFoundError as error:
        raise LedgerError(f"{error.filename} is missing; restore it from a copy") from error
    except FileExistsError as error:
        raise ConfigError(f"{file} exists already; give the name of a new file") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        reason = error.strerror or str(error)
        raise StorageError(f"{file} was not written ({reason}); make room, then run the command again") from error
    return Bundled(num_entries=len(events), num_files=len(listed), num_bytes=file.stat().st_size)


_Listed = tuple[str, str, int]
"""Name, digest and bytes."""


def _listed(registry: Registry, name: str, digest: str | None) -> _Listed:
    place = registry.folder / name
    return name, digest or records.file_digest(place), place.stat().st_size


def _write_all(registry: Registry, listed: list[_Listed], draft: IO[bytes], advance: Any) -> None:
    index = records.to_canonical({"format": _FORMAT, "files": listed}).encode()
    draft.write(_header(_INDEX, len(index)) + index + _padding(len(index)))
    written: set[str] = set()
    for name, digest, size in listed:
        if digest not in written:
            written.add(digest)
            draft.write(_header(digest, size))
            _copy(registry.folder / name, digest, size, draft)
            draft.write(_padding(size))
        advance(1)
    draft.write(bytes(2 * _BLOCK))


def _copy(place: Path, digest: str, size: int, draft: IO[bytes]) -> None:
    hashed, copied = hashlib.sha256(), 0
    with place.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            hashed.update(piece)
            copied += len(piece)
            draft.write(piece)
    if hashed.hexdigest() != digest or copied != size:
        raise LedgerError(f"{place} was changed: it hashes to {hashed.hexdigest()[:12]}; restore it from a copy")


class _new_file:  # noqa: N801 - a context manager, used like a function
    """A draft that gets its name, which must not be taken, when all went well."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> IO[bytes]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{self._file.name}-", dir=self._file.parent)
        self._draft, self._open = Path(name), os.fdopen(descriptor, "wb")
        return self._open

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._open:
                if kind is None:
                    self._open.flush()
                    os.fsync(self._open.fileno())
            if kind is None:
                self._draft.chmod(0o644)
                os.link(self._draft, self._file)
        finally:
            self._draft.unlink(missing_ok=True)


@final
class BundleRemote(Remote):
    """A bundle that `bundle` wrote, or that somebody says it wrote."""

    def __init__(self, file: Path) -> None:
        """Check everything about the file but its contents, which are hashed as they are read.

        Raises:
            RemoteContentError: It is not what `bundle` writes, to the byte.
            RemoteError: It cannot be read.
        """
        super().__init__(str(file))
        self._file = file
        with self._opened() as opened:
            listed = self._read_index(opened)
            self._places = self._check_members(opened, listed)

    @override
    def _read(self, name: str) -> Generator[bytes, None, None]:
        if name not in self._places:
            raise AbsentError(f"{self.address} has no {name}; use another copy of the bundle")
        begin, left, digest = self._places[name]
        hashed = hashlib.sha256()
        with self._opened() as opened:
            opened.seek(begin)
            while left and (piece := opened.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
                hashed.update(piece)
                yield piece
        if hashed.hexdigest() != digest:
            raise self._wrong(f"its {name} hashes to {hashed.hexdigest()[:12]}, its index says {digest[:12]}")

    @override
    def _create(self, name: str, content: bytes) -> bool:
        raise RemoteError(f"{self.address} is a bundle, which is written once; make a new one with `saint bundle`")

    @override
    def _names(self, folder: str) -> Iterator[str]:
        return iter(self._places)

    def _opened(self) -> IO[bytes]:
        try:  # a pipe is not waited for
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise RemoteError(f"{self.address} cannot be read ({error.strerror}); give the file of a bundle") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RemoteError(f"{self.address} is not a file; give the file of a bundle")
        return os.fdopen(descriptor, "rb")

    def _read_index(self, opened: IO[bytes]) -> list[_Listed]:
        header = opened.read(_BLOCK)
        size = int(header[124:135], 8) if _SIZE.fullmatch(header[124:136]) else -1
        if not 0 <= size <= _MOST_INDEX_BYTES or header != _header(_INDEX, size):
            raise self._wrong(f"it does not begin with {_INDEX} as `saint bundle` writes it")
        content = opened.read(size)
        if opened.read(len(_padding(size))) != _padding(size):
            raise self._wrong("its index is cut off")
        try:
            index = json.loads(content)
            intact = records.to_canonical(index).encode() == content
        except (ValueError, TypeError, RecursionError) as error:
            raise self._wrong("its index cannot be read") from error
        if not intact or not isinstance(index, dict) or set(index) != {"format", "files"}:
            raise self._wrong("its index is not spelled as `saint bundle` spells it")
        if index["format"] != _FORMAT or not isinstance(index["files"], list):
            raise self._wrong(f"its index has format {index['format']!r:.40}, this version reads {_FORMAT}")
        return [self._checked(one) for one in index["files"]]

    def _checked(self, one: Any) -> _Listed:
        match one:
            case [str(name), str(digest), int(size)] if not isinstance(size, bool):
                blob_name(digest)
                if is_name(name) and 0 <= size <= Caps().blob:
                    return name, digest, size
        raise self._wrong(f"its index lists {one!r:.120}, which no registry has")

    def _check_members(self, opened: IO[bytes], listed: list[_Listed]) -> Mapping[str, tuple[int, int, str]]:
        begins: dict[str, tuple[int, int]] = {}
        places: dict[str, tuple[int, int, str]] = {}
        for name, digest, size in listed:
            if digest not in begins:
                if opened.read(_BLOCK) != _header(digest, size):
                    raise self._wrong(f"what stands where {digest[:12]} should is not a plain member of that name")
                begins[digest] = opened.tell(), size
                opened.seek(size, os.SEEK_CUR)
                if opened.read(len(_padding(size))) != _padding(size):
                    raise self._wrong(f"{digest[:12]} is cut off or followed by something else")
            if name in places or begins[digest][1] != size:
                raise self._wrong(f"its index lists {name} twice or with two sizes")
            places[name] = (*begins[digest], digest)
        if opened.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
            raise self._wrong("it goes on, or breaks off, where it should end")
        return places

    def _wrong(self, what: str) -> RemoteContentError:
        return RemoteContentError(f"{self.address} is not a bundle that can be trusted ({what}); ask for it again")


def _header(name: str, size: int) -> bytes:
    """The one header that a member of that name and size may have."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o444
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
