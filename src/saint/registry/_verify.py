"""Is everything still what was written, and does it add up?"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
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
    num_unread: int = 0
    """Blobs that are there, but were not read: it was asked for a sample."""


def verify(registry: Registry, *, sample: float = 1.0) -> Verification:
    """Read every entry and the blobs that entries name, and replay the ledger.

    Args:
        sample: The share of blobs to read, drawn anew each time; of the others it is seen that they are there.

    Raises:
        LedgerError: The chain itself is broken, so that nothing after the break can be checked.
    """
    events = registry.ledger.reread()
    problems, num_bytes = [], 0
    blobs = sorted({blob for event in events for blob in event.blobs})
    drawn = _draw(blobs, sample)
    for blob in blobs:
        try:
            if blob in drawn:
                num_bytes += registry.store.check(blob)
            else:
                registry.store.must_have(blob)
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
        num_unread=len(blobs) - len(drawn),
    )


def _draw(blobs: Sequence[str], share: float) -> frozenset[str]:
    """A draw that nobody who damages blobs can know before."""
    return frozenset(random.SystemRandom().sample(blobs, ceil(share * len(blobs))))
