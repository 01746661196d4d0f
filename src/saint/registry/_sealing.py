"""When a checkpoint is signed and remembered: as a command ends, and after every 256 entries of a long one.

A checkpoint is about all entries before it, so nothing is gained by one after each; it would double the number of files
and of flushes that an append costs. What a killed process appended since its last one is still in the chain.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from saint.errors import LedgerError
from saint.registry._checkpoint import Checkpoint, Signer
from saint.registry._format_page import add_pages, new_origin, origin_after, origins_in
from saint.registry._ledger import Ledger
from saint.registry._merkle import MerkleTree
from saint.registry._remembered import Memory, Remembered, Standing
from saint.registry._store import Store

_APPENDS_PER_CHECKPOINT = 256
_DER_OF_ED25519 = bytes.fromhex("302a300506032b6570032100")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signers:
    """Who may sign a registry's checkpoints, as its trust file has it."""

    keys: Mapping[bytes, int] = field(default_factory=dict)
    """Public key -> for how many first entries it may speak; none where there is no trust file."""
    is_known: bool = False
    """Whether somebody has told this machine that the trust file is the registry's."""


@final
class Seal:
    """Watches one registry's appends."""

    def __init__(self, store: Store, ledger: Ledger, memory: Memory) -> None:
        self._store, self._ledger, self.memory = store, ledger, memory
        self.signer: Callable[[], Signer | None] = lambda: None
        """Finds who signs checkpoints; without anybody they are only remembered."""
        self.may_sign: Callable[[], Signers] = Signers
        """Finds whose signatures of checkpoints count."""
        self._tree, self._num_unsealed, self._has_begun = MerkleTree(), 0, False

    def begin(self) -> None:
        """Give a registry that was just made its name and pages, and remember that it is empty."""
        origin = new_origin()
        add_pages(self._store, origin)
        self.memory.remember(Checkpoint(origin=origin, size=0, root=MerkleTree().root()), place=self._store.folder)

    def origin(self) -> str:
        """The registry's name; "" for an empty one that nobody gave one."""
        if names := origins_in(self._store):
            return names[0]
        events = self._ledger.events()
        return origin_after(events[0].digest) if events else ""

    def before_append(self) -> None:
        """Before this process' first: the log must be the one that was verified here, if one was.

        Raises:
            LedgerError: It is not; nothing was written.
        """
        if self._has_begun:
            return
        origin = self.origin()
        known = self.memory.recall(origin)  # before the log is read: others append meanwhile, and remember that
        self._read_on()
        if problem := self.problem_with(origin, known, self._tree):
            raise LedgerError(problem)
        add_pages(self._store, origin or new_origin())
        self._has_begun = True

    def after_append(self) -> None:
        """Count, and seal now and then."""
        self._num_unsealed += 1
        if self._num_unsealed >= _APPENDS_PER_CHECKPOINT:
            self.seal()

    def seal(self) -> Checkpoint | None:
        """Sign and remember how far the log has come; None when this process appended nothing since.

        Raises:
            LedgerError: The log is not the one that was verified here; nothing was signed.
        """
        if not self._num_unsealed:
            return None
        origin = self.origin()
        known = self.memory.recall(origin)
        self._read_on()
        if problem := self.problem_with(origin, known, self._tree):
            raise LedgerError(problem)
        checkpoint = Checkpoint(origin=origin, size=len(self._tree), root=self._tree.root())
        if (signer := self.signer()) is not None:
            self._write(checkpoint, signer)
        if known is not None:  # what was never verified here as a whole is not remembered as if it was
            keys = [signer.public] if signer else []
            self.memory.remember(checkpoint, place=self._store.folder, keys=keys)
        self._num_unsealed = 0
        return checkpoint

    def standing(self, origin: str, known: Remembered | None, tree: MerkleTree) -> Standing:
        """How a log relates to what was verified here."""
        if known is not None:
            return known.standing(tree)
        before = self.memory.recall_place(self._store.folder)
        return Standing.REPLACED if before not in (None, origin) else Standing.UNKNOWN

    def problem_with(self, origin: str, known: Remembered | None, tree: MerkleTree) -> str | None:
        """What is wrong with a log that is not the one that was verified here, and what helps."""
        standing = self.standing(origin, known, tree)
        if standing in (Standing.UNKNOWN, Standing.EXTENDS):
            return None
        return _told(standing, self._store.folder, known, tree, self.memory)

    def _read_on(self) -> None:
        for event in self._ledger.events()[len(self._tree) :]:
            self._tree.append(bytes.fromhex(event.leaf))

    def _write(self, checkpoint: Checkpoint, signer: Signer) -> None:
        folder = self._store.folder / "checkpoints"
        key = folder / key_name(signer.public)
        if not key.exists():
            self._store.create(key, public_pem(signer.public))
        self._store.create(folder / f"{checkpoint.size:09d}.note", checkpoint.to_note(signer).encode())


def key_name(public: bytes) -> str:
    """What the file of a key that signs checkpoints is called."""
    return f"{hashlib.sha256(public).hexdigest()[:16]}.pem"


def public_pem(public: bytes) -> bytes:
    """An Ed25519 public key as openssl reads it."""
    encoded = base64.b64encode(_DER_OF_ED25519 + public).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n".encode()


def public_of(pem: bytes) -> bytes | None:
    """The 32 bytes in what `public_pem` wrote; None for anything else."""
    lines = pem.decode("ascii", errors="replace").splitlines()
    try:
        public = base64.b64decode(lines[1]).removeprefix(_DER_OF_ED25519)
    except (IndexError, ValueError):
        return None
    return public if public_pem(public) == pem and len(public) == 32 else None


def _told(standing: Standing, folder: Path, known: Remembered | None, tree: MerkleTree, memory: Memory) -> str:
    remedy = f"restore it from a copy, or, if you know why, take it as it is with `saint verify {folder} --anew`"
    if known is None:
        before = memory.recall_place(folder)
        return f"{folder} held the registry {before} when it was last seen here, it holds another one now; {remedy}"
    seen = f"{known.size} entries were verified here on {known.time} ({known.place})"
    agreed = known.agreed(tree)
    if standing is Standing.SHORTER:
        what = "the log was cut short, or an older copy took its place"
        return f"{folder} has {len(tree)} entries, {seen}: {what}; {remedy}"
    if standing is Standing.PARTED:
        return (
            f"the log in {folder} is not the one of which {seen}: it is the same up to entry {agreed - 1} and was "
            f"rewritten after it, or is a fork, a copy that went its own way; {remedy}"
        )
    return f"the log in {folder} is not the one of which {seen}: it was rewritten as a whole; {remedy}"
