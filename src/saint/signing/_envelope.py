"""DSSE v1.0 envelopes (https://github.com/secure-systems-lab/dsse): bytes, what they are, and who signed both."""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from saint import records
from saint.errors import SignatureError
from saint.signing._key import Key, PublicKey

IN_TOTO = "application/vnd.in-toto+json"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A payload with signatures. Who counts is for the reader to say: keys that nobody trusts may sign as well."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(key id, signature); the id is a hint, and proves nothing."""

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON."""
        signatures = [{"keyid": key_id, "sig": _spell(signature)} for key_id, signature in self.signatures]
        plain = {"payload": _spell(self.payload), "payloadType": self.payload_type, "signatures": signatures}
        return records.to_canonical(plain).encode()

    def signers(self, keys: Iterable[PublicKey]) -> frozenset[str]:
        """The ids of those `keys` that signed; however often a key is given or has signed, it is there once."""
        message = pae(self.payload_type, self.payload)
        distinct = {key.key_id: key for key in keys}
        return frozenset(
            key_id
            for key_id, key in distinct.items()
            if any(hint == key_id and key.verify(message, signature) for hint, signature in self.signatures)
        )

    def with_signatures_of(self, *keys: Key) -> "Envelope":
        """The same, signed by these as well."""
        return sign(self.payload_type, self.payload, *keys, beside=self.signatures)


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the type and the payload, each after its length, so that neither can pass for the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, *keys: Key, beside: Iterable[tuple[str, bytes]] = ()) -> Envelope:
    """An envelope that every one of `keys` signed.

    Args:
        beside: Signatures that are kept; one of the same key is replaced.
    """
    message = pae(payload_type, payload)
    signatures = {**dict(beside), **{key.key_id: key.sign(message) for key in keys}}
    return Envelope(payload_type=payload_type, payload=payload, signatures=tuple(sorted(signatures.items())))


def verify(envelope: Envelope, keys: Iterable[PublicKey], threshold: int) -> frozenset[str]:
    """The ids of the keys that signed, of which there must be enough.

    Raises:
        SignatureError: Fewer than `threshold` different keys of `keys` signed.
    """
    assert threshold > 0
    found = envelope.signers(keys)
    if len(found) < threshold:
        raise SignatureError(
            f"{len(found)} of the keys that count signed, and {threshold} different ones must; restore the file from a "
            "copy or have it signed"
        )
    return found


def read_envelope(content: bytes) -> Envelope:
    """The envelope in a file.

    Raises:
        SignatureError: It is none.
    """
    try:
        plain = json.loads(content)
        signatures = tuple((str(one["keyid"]), _read(one["sig"])) for one in plain["signatures"])
        kind, payload = str(plain["payloadType"]), _read(plain["payload"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SignatureError(
            f"this is no DSSE envelope ({type(error).__name__}: {error}); restore it from a copy"
        ) from error
    return Envelope(payload_type=kind, payload=payload, signatures=signatures)


def _spell(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _read(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
