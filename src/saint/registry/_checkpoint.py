"""How far a log has come, in four lines that anybody can check: a C2SP tlog-checkpoint in a C2SP signed note."""

import base64
import binascii
import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self, final

from saint.errors import CheckpointKeyError, LedgerError

_ED25519 = b"\x01"
_SIGNATURE = "\u2014 "
MOST_BYTES = 1 << 16
FOR_EVER = sys.maxsize
"""For how many entries a key may speak that was not revoked."""
_MOST_SIGNATURES = 16
_MOST_DIGITS = 18
_HASH_BYTES, _KEY_HASH_BYTES = 32, 4


class Signer(Protocol):
    """An Ed25519 key that can sign."""

    @property
    def public(self) -> bytes:
        """The 32 raw bytes of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """All entries of one log up to some number, as one hash."""

    origin: str
    """The log's name; no two registries share one."""
    size: int
    root: bytes
    """The root of the Merkle tree over the first `size` entries."""

    @property
    def message(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    def to_note(self, *signers: Signer) -> str:
        """The checkpoint with a line for each signature, under the name of its origin."""
        assert signers, "a note without a signature is none"
        lines = [_signature_line(self.origin, signer, self.message) for signer in signers]
        return self.message.decode() + "\n" + "".join(lines)

    @classmethod
    def from_note(cls, content: bytes, keys: Iterable[bytes], *, where: str = "the note") -> Self:
        """Read a note, and check it with the public keys that are known.

        Raises:
            LedgerError: It is malformed, or a signature under a known key is false.
            CheckpointKeyError: None of the keys has signed it, so that it could not be checked.
        """
        note = parse_note(content, where=where)
        if not note.signed_by(keys):
            raise CheckpointKeyError(f"{where} is signed by none of the keys that are known here; give the log's key")
        found = note.checkpoint
        return cls(origin=found.origin, size=found.size, root=found.root)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """One line of a note."""

    name: str
    key_hash: bytes
    """Four bytes that say which key is meant; no proof that it was that one."""
    signature: bytes


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A checkpoint as it was found, none of whose signatures is checked yet."""

    checkpoint: Checkpoint
    message: bytes
    """What was signed; the checkpoint and any lines that other logs add."""
    signatures: tuple[Signature, ...]
    where: str

    def signed_by(self, keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """Which of the public keys have signed.

        Raises:
            LedgerError: A signature says that it is by one of them, and is not.
        """
        found = []
        for key in keys:
            for line in self.signatures:
                if line.key_hash == key_hash(line.name, key):
                    if not _is_signature(key, self.message, line.signature):
                        raise LedgerError(
                            f"{self.where} has a false signature by {line.name}: it was changed; restore it from a copy"
                        )
                    found.append(key)
        return tuple(dict.fromkeys(found))


def has_signed(note: Note, keys: Mapping[bytes, int]) -> bool:
    """Whether one of the keys has signed that may speak for so many entries.

    Args:
        keys: Public key -> for how many first entries it may.

    Raises:
        LedgerError: A signature says that it is by one of them, and is not.
    """
    return any(keys[key] >= note.checkpoint.size for key in note.signed_by(keys))


def key_hash(name: str, public: bytes) -> bytes:
    """How a note refers to an Ed25519 key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_HASH_BYTES]


def parse_note(content: bytes, *, where: str = "the note") -> Note:
    """Read a note without checking its signatures.

    Args:
        where: What a message calls it.

    Raises:
        LedgerError: It is not spelled as a signed checkpoint is, to the byte.
    """
    try:
        return _parse(content, where)
    except ValueError as error:  # of decoding too
        raise LedgerError(f"{where} is not a signed checkpoint ({error}); restore it from a copy") from error


def _parse(content: bytes, where: str) -> Note:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has over {MOST_BYTES} bytes")
    text = content.decode()
    if any(ord(letter) < 0x20 and letter != "\n" for letter in text):
        raise ValueError("it has control characters")
    message, blank, block = text.partition("\n\n")
    if not blank or not block.endswith("\n"):
        raise ValueError("it ends before its signatures do")
    lines, signatures = message.split("\n"), block[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or len(signatures) > _MOST_SIGNATURES:
        raise ValueError("it needs an origin, a size, a root, and some signatures")
    checkpoint = Checkpoint(origin=lines[0], size=_size(lines[1]), root=_decoded(lines[2]))
    if len(checkpoint.root) != _HASH_BYTES:
        raise ValueError(f"its root has {len(checkpoint.root)} bytes, SHA-256 has {_HASH_BYTES}")
    return Note(
        checkpoint=checkpoint,
        message=f"{message}\n".encode(),
        signatures=tuple(map(_signature, signatures)),
        where=where,
    )


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS or (text[0] == "0" and text != "0"):
        raise ValueError(f"its size is {text[:20]!r}, not a plain decimal number")
    return int(text)


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or not name or "+" in name:
        raise ValueError(f"{line[:40]!r} is not a signature line")
    decoded = _decoded(encoded)
    if len(decoded) <= _KEY_HASH_BYTES:
        raise ValueError(f"the signature by {name[:40]} is too short")
    return Signature(name=name, key_hash=decoded[:_KEY_HASH_BYTES], signature=decoded[_KEY_HASH_BYTES:])


def _decoded(text: str) -> bytes:
    """Base64 in its one spelling: bits that decoding would drop are a change nobody would see."""
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"{text[:20]!r} is not base64") from error
    if base64.b64encode(decoded).decode() != text:
        raise ValueError(f"{text[:20]!r} is not base64 in its one spelling")
    return decoded


def _signature_line(name: str, signer: Signer, message: bytes) -> str:
    encoded = base64.b64encode(key_hash(name, signer.public) + signer.sign(message)).decode()
    return f"{_SIGNATURE}{name} {encoded}\n"


def _is_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
