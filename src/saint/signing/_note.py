"""Signers and verifiers of C2SP signed notes (https://c2sp.org/signed-note), as checkpoints of a ledger are."""

import base64
import hashlib
from typing import final

from saint.errors import KeyFileError
from saint.signing._key import Key, PublicKey

_ED25519 = b"\x01"
_NUM_HASH_BYTES = 4


@final
class NoteVerifier:
    """A public key under the name that notes know it by."""

    def __init__(self, name: str, key: PublicKey) -> None:
        self.name, self._key = _checked(name), key

    @property
    def key_hash(self) -> bytes:
        """4 bytes of SHA-256(name, line feed, 0x01, public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self._key.public).digest()[:_NUM_HASH_BYTES]

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the key's holder signed the note's text."""
        return self._key.verify(message, signature)

    def to_vkey(self) -> str:
        """The verifier key, in the format that other tools for notes take."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(_ED25519 + self._key.public).decode()}"


@final
class NoteSigner:
    """A key under the name that notes know it by."""

    def __init__(self, name: str, key: Key) -> None:
        self.verifier = NoteVerifier(name, key.public_key)
        self._key = key

    @property
    def name(self) -> str:
        """The verifier's."""
        return self.verifier.name

    @property
    def key_hash(self) -> bytes:
        """The verifier's."""
        return self.verifier.key_hash

    def sign(self, message: bytes) -> bytes:
        """64 bytes over the note's text."""
        return self._key.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the note's text."""
        return self.verifier.verify(message, signature)


def _checked(name: str) -> str:
    if not name or "+" in name or any(letter.isspace() for letter in name):
        raise KeyFileError(f"{name!r} is no name for a key of notes; it must not be empty nor have spaces or a plus")
    return name
