"""Whether a log is the one that its checkpoints are about, and the one that this machine knows."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from saint.errors import CheckpointKeyError, LedgerError, RemoteContentError, SignatureError
from saint.registry import Checkpoint, Event, MerkleTree, Remembered, Standing, held_note
from saint.signing import log_keys


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Agreed:
    """How far a log came that agrees with all that is known of it."""

    checkpoint: Checkpoint
    keys: tuple[bytes, ...]
    """Public keys that may sign for it."""
    unchecked: tuple[str, ...]
    """What could not be checked."""


def must_agree(
    events: Sequence[Event],
    notes: Mapping[str, bytes],
    *,
    origins: Sequence[str],
    known: Remembered | None,
    payload: Callable[[str], bytes],
    source: str,
    may_be_behind: bool = False,
) -> Agreed:
    """Hold a log against checkpoints that came with it, and against what this machine verified before.

    Keys count that this machine remembers, and those to which the trust files in the log give the role: they hang
    together by signatures, and are the ones that are remembered here if any are. A key that lies beside a checkpoint
    counts for nothing.

    Args:
        events: All entries of the log.
        notes: Name -> content.
        origins: The log's name, and those that it had.
        known: What this machine remembers of it, from before the log was read: others append meanwhile.
        payload: Digest of a blob -> its content.
        source: Where the log and its checkpoints are, for messages.
        may_be_behind: Let it be shorter than what was verified here: another copy went on.

    Raises:
        LedgerError: They contradict each other, or a signature is false.
        SignatureError: A trust file of the log does not hold, or is not the one that is remembered.
        CheckpointKeyError: It is known who may sign, and a checkpoint is by somebody else.
    """
    tree = MerkleTree(bytes.fromhex(event.leaf) for event in events)
    standing = known.standing(tree) if known else Standing.UNKNOWN
    if known and standing is not Standing.EXTENDS and not (may_be_behind and standing is Standing.SHORTER):
        raise LedgerError(_told(known, standing, tree, source))
    keys = [bytes.fromhex(key) for key in known.keys] if known else []
    keys = list(dict.fromkeys([*keys, *log_keys(origins[0], events, payload)])) if origins else keys
    strange = []
    for path, content in sorted(notes.items()):
        name = path.rpartition("/")[2]
        note = held_note(content, name=name, where=f"{path} at {source}", origins=origins, tree=tree)
        if not note.signed_by(keys):
            strange.append(path)
    if strange and keys:
        raise CheckpointKeyError(
            f"{strange[-1]} at {source} is signed by none of the keys that may sign for this registry, so it could not "
            "be checked; ask its owner whose key it is, or use another copy"
        )
    checkpoint = Checkpoint(origin=origins[0] if origins else "", size=len(tree), root=tree.root())
    unchecked = tuple(_unknown(checkpoint, strange, source, is_known=known is not None))
    return Agreed(checkpoint=checkpoint, keys=tuple(keys), unchecked=unchecked)


@contextmanager
def as_content() -> Iterator[None]:
    """Tell of a log that came from a remote as of what came from there."""
    try:
        yield
    except (LedgerError, SignatureError) as error:
        raise RemoteContentError(str(error)) from error


def _told(known: Remembered, standing: Standing, tree: MerkleTree, source: str) -> str:
    """What is wrong with a log that is not the one that was verified here."""
    seen = f"{known.size} entries were verified here on {known.time} ({known.place})"
    if standing is Standing.SHORTER:
        return (
            f"{source} has {len(tree)} entries, and {seen}: its log was cut short, or is behind that copy; push from "
            "there, or use another one"
        )
    if standing is Standing.PARTED:
        return (
            f"the log at {source} is not the one of which {seen}: it is the same up to entry {known.agreed(tree) - 1} "
            "and was rewritten after it, or is a fork; compare it with other copies"
        )
    return f"the log at {source} is not the one of which {seen}: it was rewritten as a whole; use another copy"


def _unknown(checkpoint: Checkpoint, strange: Sequence[str], source: str, *, is_known: bool) -> Iterator[str]:
    if not is_known:
        root = base64.b64encode(checkpoint.root).decode()
        yield (
            f"whether entries are missing at the end of {source}, or all were written anew: this machine never "
            f"verified this registry; compare the checkpoint {checkpoint.size}:{root} with whoever gave it to you"
        )
    if strange:
        yield (
            f"the signatures of {len(strange)} checkpoints, the last of them {strange[-1]}: no trust file says whose "
            "key it is; ask whoever gave it to you"
        )
