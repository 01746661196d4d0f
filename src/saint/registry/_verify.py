"""Is everything still what was written, and does it add up?"""

from dataclasses import dataclass
from typing import final

from saint.errors import LedgerError, SaintError
from saint.registry._changes import replay
from saint.registry._registry import Registry


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked, and what was found wrong."""

    num_entries: int
    num_blobs: int
    num_bytes: int
    head: str
    """Digest of the last entry: note it elsewhere, and a later verification shows that nothing before it moved."""
    problems: tuple[str, ...]


def verify(registry: Registry) -> Verification:
    """Read every entry and every blob that an entry names, and replay the ledger.

    Raises:
        LedgerError: The chain itself is broken, so that nothing after the break can be checked.
    """
    events = registry.ledger.reread()
    problems, num_bytes = [], 0
    blobs = sorted({blob for event in events for blob in event.blobs})
    for blob in blobs:
        try:
            num_bytes += registry.store.check(blob)
        except LedgerError as error:
            problems.append(str(error))
    try:
        replay(events)
    except SaintError as error:
        problems.append(str(error))
    return Verification(
        num_entries=len(events),
        num_blobs=len(blobs),
        num_bytes=num_bytes,
        head=events[-1].digest if events else "",
        problems=tuple(problems),
    )
