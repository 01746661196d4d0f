"""Numbered entries, one file each, in which every entry carries the digest of the one before."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, final

from saint import records
from saint.errors import ConfigError, LedgerError, NewerFormatError
from saint.registry._merkle import leaf_hash
from saint.registry._reading import read_file
from saint.registry._store import Store

FORMAT = 1
Attest = Callable[[str, Mapping[str, Any], Sequence["Event"]], Mapping[str, Sequence[bytes]]]
"""Event, body and the entries before it -> key of the body -> contents that the entry is to name there."""
GENESIS = "0" * 64
"""What the first entry carries for the digest of the one before."""
_ENTRIES_PER_FOLDER = 1000
_MOST_BYTES = 1 << 26
"""Of an entry: it is read whole, and what is larger is a blob's to hold."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One entry of the ledger, checked against the one before."""

    number: int
    name: str
    body: Mapping[str, Any]
    blobs: tuple[str, ...]
    """Digests of the stored contents that the entry speaks of."""
    time: str
    """UTC, ISO 8601; for people, never for order."""
    digest: str
    """SHA-256 of the entry's bytes: the next entry carries it."""
    leaf: str
    """The entry's hash in the Merkle tree over all entries, in hexadecimal."""


class Watch(Protocol):
    """Is told of this process' appends."""

    def before_append(self) -> None:
        """May refuse by raising; nothing was written then."""
        ...

    def after_append(self) -> None:
        """The entry is on disk."""
        ...


@final
class Ledger:
    """The entries of one registry. Many processes may append; each entry has one winner."""

    def __init__(self, store: Store, *, must_follow: Callable[[Sequence[Event], Event], object] | None = None) -> None:
        """Say where entries lie, and what they have to keep.

        Args:
            must_follow: Raises when an entry does not add up with those before it; asked of every entry before it is
                written, so that nobody can write what nobody could read.
        """
        self._store, self._must_follow = store, must_follow
        self._read: list[Event] = []
        self._num_durable = 0
        """Of the entries read, how many are durable for all that this process knows."""
        self.watch: Watch | None = None
        self.attest: Attest | None = None
        """Asked of every entry before it is written, where somebody wants entries signed."""
        self.withdraw: Callable[[], None] = lambda: None
        """Told that what was asked for last was not written, and will not be."""

    def append(
        self, name: str, body: Callable[[Sequence[Event]], Mapping[str, Any]], *, blobs: Sequence[str] = ()
    ) -> Event:
        """Write one event after all that are there; takes as long however many there are.

        Args:
            blobs: Digests of the contents it speaks of; they are in the store already.
            body: Makes the event from the entries before it, or raises when they do not allow it. Called again when
                another process was faster, so a decision is never written on top of a past it has not seen.

        Raises:
            LedgerError: The entries on disk do not verify, or this one cannot follow them; it was not written then.
            StorageError: The disk refused; nothing was half-written.
        """
        if self.watch is not None:
            self.watch.before_append()
        while True:
            past = self.past()
            number = len(past)
            if number > self._num_durable:  # what is built upon must be durable, even if its writer died before that
                self._store.sync(self.place(number - 1).parent)
                self._num_durable = number
            try:
                content = self._spelled(name, records.to_plain(body(past)), blobs, past)
                if self._must_follow is not None:
                    self._must_follow(past, _event(json.loads(content), content))
                if self._store.create(self.place(number), content):
                    break
            except BaseException:
                self.withdraw()
                raise
        self._num_durable = number + 1
        if self.watch is not None:
            self.watch.after_append()
        return self.past()[number]

    def _spelled(self, name: str, body: dict[str, Any], blobs: Sequence[str], past: Sequence[Event]) -> bytes:
        """The entry that is to follow `past`, signed if it has to be, and with all that it names in the store."""
        try:
            plain, signed = self._signed(name, body, past)
            entry = {
                "format": FORMAT,
                "number": len(past),
                "previous": past[-1].digest if past else GENESIS,
                "event": name,
                "body": plain,
                "blobs": sorted([*blobs, *signed]),
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            content = records.to_canonical(entry).encode()
        except UnicodeEncodeError as error:
            near = error.object[max(0, error.start - 20) : error.start + 20]
            raise ConfigError(
                f"{near!a} has bytes that are no UTF-8, and all text in a ledger is; write it in UTF-8"
            ) from error
        if len(content) > _MOST_BYTES:
            raise LedgerError(
                f"the entry takes {len(content):,} bytes, and {_MOST_BYTES:,} can be read; make it shorter"
            )
        for blob in [*blobs, *signed]:
            self._store.must_have(blob)  # an entry is for ever: it must not name what was collected meanwhile
        return content

    def _signed(self, name: str, body: dict[str, Any], past: Sequence[Event]) -> tuple[dict[str, Any], list[str]]:
        """The body with the digests of what is signed about it, which is in the store then, and these digests."""
        if self.attest is None:
            return body, []
        made = self.attest(name, body, past)
        kept = {key: [self._store.put(content) for content in contents] for key, contents in made.items()}
        named = {key: digests[0] if key == "trust" else digests for key, digests in kept.items()}
        return {**body, **named}, [digest for digests in kept.values() for digest in digests]

    def events(self) -> list[Event]:
        """All entries in order; those read before are not read again.

        Raises:
            LedgerError: An entry was changed, removed or put elsewhere.
            NewerFormatError: A newer version wrote one.
        """
        return list(self.past())

    def past(self) -> Sequence[Event]:
        """The same without a copy, to look at and not to keep: entries that are read later are added to it."""
        latest = None if self._read else self._latest()
        self._read.extend(self.following(len(self._read), self._read[-1].digest if self._read else GENESIS))
        place = self.place(len(self._read))
        if latest is not None and latest >= place:
            self._read = []  # so that asking again answers the same
            raise LedgerError(f"{place} is missing though later entries exist; restore the log from a copy")
        return self._read

    def following(self, number: int, previous: str) -> Iterator[Event]:
        """The entries from `number` on as they are on disk, if the one before has the digest `previous`.

        Raises:
            LedgerError: An entry was changed or put elsewhere.
            NewerFormatError: A newer version wrote one.
        """
        while (place := self.place(number)).exists():
            event = _open(place, number, previous)
            yield event
            number, previous = number + 1, event.digest

    def one(self, number: int, digest: str) -> Event:
        """The entry that has this number and digest, without those before it.

        Raises:
            LedgerError: It is missing or was changed.
        """
        place = self.place(number)
        content = _content(place)
        if hashlib.sha256(content).hexdigest() != digest:
            raise LedgerError(f"the chain breaks at {place}: it was changed; restore the log from a copy")
        return _event(json.loads(content), content)

    def num_files(self) -> int:
        """How many entries there seem to be: their files are counted, not read."""
        return sum(1 for _ in (self._store.folder / "log").glob("*/*.json"))

    def reread(self) -> list[Event]:
        """All entries in order, every one read and checked anew."""
        self._read = []
        return self.events()

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events())

    def _latest(self) -> Path | None:
        """The last entry that is there, asked before reading: what other processes append meanwhile is no gap."""
        return max((self._store.folder / "log").glob("*/*.json"), default=None)

    def place(self, number: int) -> Path:
        """Where the entry with this number lies."""
        return self._store.folder / "log" / f"{number // _ENTRIES_PER_FOLDER:06d}" / f"{number:09d}.json"


def _open(place: Path, number: int, previous: str) -> Event:
    content = _content(place)
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"{place} is not an entry any more ({error}); restore the log from a copy") from error
    if isinstance(entry, dict) and isinstance(entry.get("format"), int) and entry["format"] > FORMAT:
        raise NewerFormatError(
            f"{place} has format {entry['format']}, this version reads up to {FORMAT}; update saint-g"
        )
    intact = isinstance(entry, dict) and _is_canonical(entry, content)
    if not intact or entry.get("previous") != previous or entry.get("number") != number:
        raise LedgerError(
            f"the chain breaks at {place}: it was changed, or the entry before it was; restore the log from a copy"
        )
    if not _is_complete(entry):
        raise LedgerError(
            f"{place} does not have what every entry has, and nothing else: it was changed; restore the log from a copy"
        )
    return _event(entry, content)


def _content(place: Path) -> bytes:
    try:
        return read_file(place, at_most=_MOST_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"{place} cannot be read ({reason}); restore the log from a copy") from error


def _event(entry: Mapping[str, Any], content: bytes) -> Event:
    return Event(
        number=entry["number"],
        name=entry["event"],
        body=entry["body"],
        blobs=tuple(entry["blobs"]),
        time=entry["time"],
        digest=hashlib.sha256(content).hexdigest(),
        leaf=leaf_hash(content).hex(),
    )


_TYPES: Mapping[str, type] = {
    "format": int, "number": int, "previous": str, "event": str, "body": dict, "blobs": list, "time": str,
}  # fmt: skip
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00")


def _is_complete(entry: Mapping[str, Any]) -> bool:
    """Whether it has just what every entry has; true is no number here, though Python takes it for 1."""
    return (
        entry.keys() == _TYPES.keys()
        and all(type(entry[key]) is kind for key, kind in _TYPES.items())
        and entry["format"] == FORMAT
        and all(isinstance(blob, str) and _DIGEST.fullmatch(blob) for blob in entry["blobs"])
        and _is_time(entry["time"])
    )


def _is_time(text: str) -> bool:
    try:
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _is_canonical(entry: Any, content: bytes) -> bool:
    try:
        return records.to_canonical(entry).encode() == content
    except (TypeError, ValueError, RecursionError):
        return False
