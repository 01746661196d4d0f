"""Ed25519 keys: PEM files that openssl reads, and OpenSSH's."""

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import override

from saint.errors import KeyFileError
from saint.home import create_file, home

PASSPHRASE = "SAINT_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
"""Environment variable with the passphrase of key files; without it new keys are not encrypted."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_AT_MOST_BYTES = 1 << 16
_NOBODY_S = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""The points of small order, in all spellings but for the sign, which is the last bit: under such a key a signature
that needs no private key holds for any message, or for one in eight (https://eprint.iacr.org/2020/1244, table 1)."""


@final
class PublicKey:
    """What checks signatures.

    Args:
        public: The 32 bytes of RFC 8032.

    Raises:
        KeyFileError: They are no key.
    """

    def __init__(self, public: bytes) -> None:
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError as error:
            raise KeyFileError(f"an Ed25519 public key has 32 bytes, not {len(public)}; give another") from error
        if public[:-1] + bytes([public[-1] & 0x7F]) in _NOBODY_S:
            raise KeyFileError("this public key is nobody's: everybody can sign for it; give another")
        self.public = public

    @property
    def key_id(self) -> str:
        """SHA-256 of the key's DER form, as `openssl pkey -pubin -outform DER | sha256sum` prints it."""
        der, spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(self._key.public_bytes(der, spki)).hexdigest()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the key's holder signed the message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> str:
        """The key as openssl reads it."""
        pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(pem, spki).decode()

    @override
    def __repr__(self) -> str:
        return f"PublicKey({self.key_id[:12]})"


@final
class Key:
    """What signs. Nothing that this class says or raises has the private part in it."""

    def __init__(self, private: Ed25519PrivateKey, *, name: str = "") -> None:
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self._private, self.name = private, name
        self.public_key = PublicKey(private.public_key().public_bytes(*raw))

    @property
    def key_id(self) -> str:
        """The public key's."""
        return self.public_key.key_id

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self.public_key.public

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message always gets the same ones."""
        return self._private.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the message."""
        return self.public_key.verify(message, signature)

    @override
    def __repr__(self) -> str:
        return f"Key({self.key_id[:12]})"


def keys_folder() -> Path:
    """Where keys lie that are known by name."""
    return home() / "keys"


@final
class Keyring:
    """The keys of this machine, each opened when it is first needed."""

    def __init__(self) -> None:
        self._opened: dict[Path, Key] = {}

    def of(self, key_ids: Collection[str]) -> list[Key]:
        """Those that have one of these ids; others are not opened where their public part lies beside them.

        Raises:
            KeyFileError: One cannot be opened.
        """
        found = []
        for path in sorted(keys_folder().glob("*.pem")):
            public = path.with_suffix(".pub")
            if public.exists() and load_public(public).key_id not in key_ids:
                continue
            if path not in self._opened:
                self._opened[path] = load_key(path)
            if self._opened[path].key_id in key_ids:
                found.append(self._opened[path])
        return found


def key_path(name: str) -> Path:
    """Where the key called `name` lies.

    Raises:
        KeyFileError: It is no name.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"{name!r} is no name for a key; use up to 64 letters, digits, dots, dashes and underscores")
    return keys_folder() / f"{name}.pem"


def make_key(path: Path) -> Key:
    """Make a key in a file that must not exist: PEM PKCS8, readable by its owner only.

    It is encrypted if `$SAINT_KEY_PASSPHRASE` is set. The public key is written beside it, as `.pub`.

    Raises:
        KeyFileError: The file exists.
        StorageError: The disk refused.
    """
    private = Ed25519PrivateKey.generate()
    secret = _passphrase()
    how = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    if not create_file(path, pem):
        raise KeyFileError(f"{path} exists already; give another name, a key is never written over")
    key = Key(private, name=path.stem)
    create_file(path.with_suffix(".pub"), key.public_key.to_pem().encode(), mode=0o644)
    return key


def load_key(path: Path) -> Key:
    """The private key of a PEM or OpenSSH file.

    Raises:
        KeyFileError: It is missing, no Ed25519 key, readable by others, or locked by another passphrase.
    """
    content = _read(path)
    if path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by others than its owner; run chmod 600 on it, or make a new key")
    try:
        private = _unlock(content, _passphrase())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} cannot be opened: {_why(error)}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is a key of another sort; make an Ed25519 one with `saint keys make NAME`")
    return Key(private, name=path.stem)


def load_public(path: Path) -> PublicKey:
    """The public key of a PEM file or of a line as OpenSSH writes it; of a private key's file its public part.

    Raises:
        KeyFileError: It is missing or no Ed25519 key.
    """
    content = _read(path)
    if b"PRIVATE KEY" in content:
        return load_key(path).public_key
    load = serialization.load_ssh_public_key if content.startswith(b"ssh-") else serialization.load_pem_public_key
    try:
        key = load(content)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} holds no public key; give a PEM file or a line that starts with ssh-ed25519") from (
            None
        )
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} is a key of another sort; give an Ed25519 one")
    return PublicKey(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def _unlock(content: bytes, secret: bytes | None) -> object:
    is_ssh = b"OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
    if not secret:
        return load(content, None)
    try:
        return load(content, secret)
    except (TypeError, ValueError) as error:
        if "not encrypted" in str(error):  # the passphrase is for other keys
            return load(content, None)
        raise


def _why(error: Exception) -> str:
    said = str(error).lower()
    if isinstance(error, TypeError) or "encrypted" in said:
        return f"it is encrypted; give its passphrase in the environment variable {PASSPHRASE}"
    if "decrypt" in said or "password" in said or "corrupt" in said:
        return f"the passphrase in {PASSPHRASE} is not this key's, or the file was damaged"
    return "it holds no private key that can be read; give a PEM PKCS8 or OpenSSH file"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_AT_MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read ({error.strerror}); `saint keys list` shows what keys there are"
        ) from (error)
    if len(content) > _AT_MOST_BYTES:
        raise KeyFileError(f"{path} is larger than any key; give the file of a key")
    return content


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None
