"""Which entries are about what: a cache beside the ledger, made anew whenever there is any doubt about it.

`index.sqlite` is an ordinary database for whoever wants to ask it more, and `sha256sum -c index.sha256` checks it. It
is read whole and compared with that digest before it is asked, since a database with one damaged byte may answer, and
wrongly; it is written whole, so that no journal and no lock of SQLite ever lies on the disk.
"""

import contextlib
import hashlib
import secrets
import sqlite3
from pathlib import Path
from typing import final

from saint.registry._ledger import GENESIS, Event, Ledger
from saint.registry._registry import Registry

_VERSION = 2
_TABLES = f"""
CREATE TABLE entries (number INTEGER PRIMARY KEY, digest TEXT NOT NULL, event TEXT NOT NULL, time TEXT NOT NULL);
CREATE TABLE grafts (graft TEXT NOT NULL, number INTEGER NOT NULL REFERENCES entries);
CREATE INDEX entries_by_event ON entries (event, number);
CREATE INDEX grafts_by_graft ON grafts (graft, number);
PRAGMA user_version = {_VERSION};
"""


def find(registry: Registry, *, event: str = "", graft: str = "") -> list[Event]:
    """The entries with a name, and about the grafts whose digest starts with `graft`, in order.

    Raises:
        LedgerError: One of them was changed or is missing, or the ledger goes on with entries that do not fit.
    """
    with contextlib.closing(_Index(registry.folder, registry.ledger).fresh()) as known:
        found = known.execute(
            "SELECT number, digest FROM entries WHERE (?1 = '' OR event = ?1) AND (?2 = '' OR number IN "
            "(SELECT number FROM grafts WHERE substr(graft, 1, length(?2)) = ?2)) ORDER BY number",
            (event, graft),
        ).fetchall()
    return [registry.ledger.one(number, digest) for number, digest in found]


@final
class _Index:
    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder, self._ledger = folder, ledger
        self._file, self._sum = folder / "index.sqlite", folder / "index.sha256"

    def fresh(self) -> sqlite3.Connection:
        """A database in memory that has all entries that there are now; it is kept on disk if that is possible."""
        known = self._kept()
        before = known.total_changes
        if not self._catch_up(known):
            known.close()
            self._ledger.reread()  # says what is wrong, if it is with the ledger
            known, before = _empty(), -1
            self._catch_up(known)
        if known.total_changes != before:
            with contextlib.suppress(OSError):  # where nothing can be written it is made anew every time
                self._keep(known)
        return known

    def _kept(self) -> sqlite3.Connection:
        """The one on disk, or an empty one if there is any doubt about it."""
        known = sqlite3.connect(":memory:")
        try:
            content = self._file.read_bytes()
            if self._sum.read_text(encoding="utf-8") == _line(content):
                known.deserialize(content)
                if known.execute("PRAGMA user_version").fetchone() == (_VERSION,):
                    return known
        except (OSError, ValueError, sqlite3.Error):
            pass
        known.close()
        return _empty()

    def _catch_up(self, known: sqlite3.Connection) -> bool:
        """Add what was appended since; False if what is known is not of this ledger."""
        last = known.execute("SELECT number, digest FROM entries ORDER BY number DESC LIMIT 1").fetchone()
        number, head = (last[0] + 1, last[1]) if last else (0, GENESIS)
        if last and not self._has(*last):
            return False
        for event in self._ledger.following(number, head):
            row = (event.number, event.digest, event.name, event.time)
            known.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
            known.executemany("INSERT INTO grafts VALUES (?, ?)", [(graft, event.number) for graft in _grafts(event)])
            number += 1
        known.commit()
        return number == self._ledger.num_files()

    def _has(self, number: int, digest: str) -> bool:
        place = self._ledger.place(number)
        return place.exists() and hashlib.sha256(place.read_bytes()).hexdigest() == digest

    def _keep(self, known: sqlite3.Connection) -> None:
        content = known.serialize()
        for place, written in ((self._file, content), (self._sum, _line(content).encode())):
            draft = self._folder / "tmp" / f"{place.name}.{secrets.token_hex(8)}"
            try:
                draft.write_bytes(written)
                draft.replace(place)
            finally:
                draft.unlink(missing_ok=True)


def _empty() -> sqlite3.Connection:
    known = sqlite3.connect(":memory:")
    known.executescript(_TABLES)
    return known


def _line(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  index.sqlite\n"


def _grafts(event: Event) -> set[str]:
    """What grafts an entry is about, as its body says."""
    members = [one.get("graft") if isinstance(one, dict) else one for one in event.body.get("grafts") or []]
    named = [event.body.get("graft"), *members, *(event.body.get("retrained") or [])]
    return {graft for graft in named if isinstance(graft, str)}
