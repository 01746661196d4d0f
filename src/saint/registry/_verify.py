"""Is everything still what was written, does it add up, and is it all that was there?"""

import base64
import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import final

from saint.errors import ConfigError, LedgerError, SaintError
from saint.registry._changes import replay
from saint.registry._checkpoint import Checkpoint, Note, parse_note
from saint.registry._format_page import changed_pages, origins_in
from saint.registry._merkle import MerkleTree
from saint.registry._registry import Registry
from saint.registry._remembered import Standing
from saint.registry._sealing import public_of


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked, what was found wrong, and what could not be checked."""

    num_entries: int
    num_blobs: int
    num_bytes: int
    head: str
    """Digest of the last entry: note it elsewhere, and a later verification shows that nothing before it moved."""
    origin: str
    root: str
    """The Merkle root over all entries, in base64, as checkpoints have it."""
    num_checkpoints: int
    standing: Standing
    """How the log relates to what this machine verified before."""
    problems: tuple[str, ...]
    unchecked: tuple[str, ...]
    num_unread: int = 0
    """Blobs that are there, but were not read: it was asked for a sample."""


def verify(registry: Registry, *, sample: float = 1.0, expected: str = "", anew: bool = False) -> Verification:
    """Read every entry, blob and checkpoint, replay the ledger, and hold it against what this machine remembers.

    Nothing is remembered of it: `remember` does that, once whatever else is to be checked was.

    Args:
        sample: The share of blobs to read, drawn anew each time; of the others it is seen that they are there.
        expected: A checkpoint from elsewhere, SIZE:ROOT, that the log has to contain.
        anew: Do not hold it against what is remembered.

    Raises:
        LedgerError: The chain itself is broken, so that nothing after the break can be checked.
        RememberedError: What is remembered cannot be read.
        ConfigError: `expected` is no checkpoint.
    """
    origin = registry.seal.origin()
    known = None if anew else registry.seal.memory.recall(origin)  # first: others append meanwhile, and remember that
    events = registry.ledger.reread()
    tree = MerkleTree(bytes.fromhex(event.leaf) for event in events)
    blobs = sorted({blob for event in events for blob in event.blobs})
    drawn = _draw(blobs, sample)
    num_bytes, problems = _read_blobs(registry, blobs, drawn)
    try:
        replay(events)
    except SaintError as error:
        problems.append(str(error))
    keys = [bytes.fromhex(key) for key in known.keys] if known else []
    keys += [signer.public] if (signer := registry.seal.signer()) else []
    num_checkpoints, wrong, unchecked = _read_notes(registry, tree, keys)
    problems += [*wrong, *changed_pages(registry.store)]
    if expected and (problem := _not_expected(tree, expected)):
        problems.append(problem)
    standing = Standing.UNKNOWN if anew else registry.seal.standing(origin, known, tree)
    if not anew and (problem := registry.seal.problem_with(origin, known, tree)):
        problems.append(problem)
    if standing is Standing.UNKNOWN and not expected:
        unchecked.append(
            "whether entries are missing at the end, or all were written anew: this machine has not verified this "
            "registry before; compare the checkpoint with whoever gave it to you; the next time it is held against this"
        )
    return Verification(
        num_entries=len(events),
        num_blobs=len(blobs),
        num_bytes=num_bytes,
        head=events[-1].digest if events else "",
        origin=origin,
        root=base64.b64encode(tree.root()).decode(),
        num_checkpoints=num_checkpoints,
        standing=standing,
        problems=tuple(problems),
        unchecked=tuple(unchecked),
        num_unread=len(blobs) - len(drawn),
    )


def _draw(blobs: Sequence[str], share: float) -> frozenset[str]:
    """A draw that nobody who damages blobs can know before."""
    return frozenset(random.SystemRandom().sample(blobs, ceil(share * len(blobs))))


def remember(registry: Registry, found: Verification, *, anew: bool = False) -> None:
    """Keep what was verified, so that the next verification holds the log against it.

    Args:
        anew: Forget what was known.

    Raises:
        StorageError: The disk refused.
    """
    assert not found.problems, "only what was verified is remembered"
    if found.origin:
        first = found.standing is Standing.UNKNOWN  # whose keys sign is taken on trust once, and never again
        registry.seal.memory.remember(
            Checkpoint(origin=found.origin, size=found.num_entries, root=base64.b64decode(found.root)),
            place=registry.folder,
            keys=_keys_in(registry.folder) if first else [],
            anew=anew,
        )


def _read_blobs(registry: Registry, blobs: Sequence[str], drawn: Container[str]) -> tuple[int, list[str]]:
    num_bytes, problems = 0, []
    for blob in blobs:
        try:
            if blob in drawn:
                num_bytes += registry.store.check(blob)
            else:
                registry.store.must_have(blob)
        except LedgerError as error:
            problems.append(str(error))
    return num_bytes, problems


def _read_notes(registry: Registry, tree: MerkleTree, keys: Iterable[bytes]) -> tuple[int, list[str], list[str]]:
    """How many checkpoints there are, what is wrong with them, and whose signatures could not be checked."""
    keys, problems, strange = list(keys), [], []
    notes = sorted((registry.folder / "checkpoints").glob("*.note"))
    origins = origins_in(registry.store)
    for place in notes:
        try:
            note = held_note(place.read_bytes(), name=place.name, where=str(place), origins=origins, tree=tree)
            if not note.signed_by(keys):
                strange.append(place.name)
        except (LedgerError, OSError) as error:
            problems.append(str(error))
    unchecked = []
    if strange:
        unchecked.append(
            f"the signatures of {len(strange)} checkpoints, the last of them {strange[-1]}: they are by no key that is "
            "known here; ask whose it is"
        )
    return len(notes), problems, unchecked


def held_note(content: bytes, *, name: str, where: str, origins: Sequence[str], tree: MerkleTree) -> Note:
    """Read a checkpoint and hold it against the log that it is to be about; its signatures are not checked.

    Args:
        name: Of its file.
        where: What a message calls it.
        origins: The log's name, and those that it had.

    Raises:
        LedgerError: It is malformed, or about another log than this one.
    """
    note, remedy = parse_note(content, where=where), "restore the log and its checkpoints from a copy"
    found = note.checkpoint
    if found.origin not in origins:
        raise LedgerError(f"{where} is about the registry {found.origin}, which is not this one; {remedy}")
    if name != f"{found.size:09d}.note":
        raise LedgerError(f"{where} is about {found.size} entries, which is not its name; {remedy}")
    if found.size > len(tree):
        raise LedgerError(
            f"{where} is about {found.size} entries, {len(tree)} are there: the log was cut short; {remedy}"
        )
    if tree.root(found.size) != found.root:
        raise LedgerError(f"{where} has another root than the first {found.size} entries: they changed; {remedy}")
    return note


def _not_expected(tree: MerkleTree, expected: str) -> str | None:
    size, _, root = expected.partition(":")
    if not (size.isascii() and size.isdigit()) or not root:
        raise ConfigError(f"{expected!r} is no checkpoint; give the number of entries and the root, as in 43:C6lt...=")
    if int(size) > len(tree):
        return f"{size} entries were expected, {len(tree)} are there: the log was cut short; restore it from a copy"
    if base64.b64encode(tree.root(int(size))).decode() != root:
        return f"the first {size} entries do not have the root that was expected: restore the log from a copy"
    return None


def _keys_in(folder: Path) -> list[bytes]:
    found = (public_of(place.read_bytes()) for place in sorted((folder / "checkpoints").glob("*.pem")))
    return [key for key in found if key is not None]
