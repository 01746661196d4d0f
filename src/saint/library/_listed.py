"""A certificate as a file: who signed it, and that it says nothing besides."""

import base64
import json
from dataclasses import dataclass
from typing import Any, final

from saint import config
from saint.errors import NewerFormatError, RemoteContentError, SaintError, SignatureError
from saint.library._certificate import CERTIFICATE, Certificate
from saint.signing import IN_TOTO, Envelope, PublicKey, known_as, read_envelope

_CERTIFICATES = CERTIFICATE.removesuffix("1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """Whose key signed a certificate."""

    key_id: str
    """SHA-256 of the public key: whoever asks for this id needs nothing else to know that it is that key."""
    known_as: str
    """What this machine knows it as; "" for a key that it does not know."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A certificate in a library whose signatures hold."""

    address: str
    """The library's."""
    certificate: Certificate
    digest: str
    """SHA-256 of the certificate's file."""
    content: bytes
    signers: tuple[Signer, ...]


def read_certificate(content: bytes, *, where: str) -> tuple[Certificate, tuple[Signer, ...]]:
    """The certificate in a file, and who signed it. That makes nobody trustworthy; it makes it known who said so.

    Args:
        where: What the file is called, for messages.

    Raises:
        NewerFormatError: A newer version wrote it.
        RemoteContentError: It is no certificate, or contradicts itself.
        SignatureError: A signature that it announces is missing or does not hold.
    """
    envelope = read_envelope(content)
    if envelope.payload_type != IN_TOTO:
        raise RemoteContentError(f"{where} is an envelope of {envelope.payload_type!r:.80}, expected {IN_TOTO}")
    try:
        plain: Any = json.loads(envelope.payload)
        _must_be_known(plain["predicateType"], where)
        certificate = config.build(plain["predicate"], Certificate, where=where)
        is_all = certificate.to_payload() == envelope.payload
    except NewerFormatError:
        raise
    except (SaintError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteContentError(f"{where} is not a certificate ({error}); ask its publisher for another") from error
    if not is_all or not _is_readable(plain):
        raise RemoteContentError(f"{where} says more than a certificate has to say; ask its publisher for another")
    return certificate, _signers(certificate, envelope, where)


def _must_be_known(found: Any, where: str) -> None:
    if found == CERTIFICATE:
        return
    if isinstance(found, str) and found.startswith(_CERTIFICATES):
        raise NewerFormatError(f"{where} is a {found!r:.80}, this version reads {CERTIFICATE}; update saint-g")
    raise RemoteContentError(f"its type is {found!r:.80}, expected {CERTIFICATE}")


def _is_readable(value: Any) -> bool:
    """Whether all text in it can be shown: nothing that moves a terminal's cursor or turns the direction of writing."""
    if isinstance(value, str):
        return all(one.isprintable() or one == "\n" for one in value)
    if isinstance(value, dict):
        return all(_is_readable(key) and _is_readable(item) for key, item in value.items())
    return all(map(_is_readable, value)) if isinstance(value, list) else True


def _signers(certificate: Certificate, envelope: Envelope, where: str) -> tuple[Signer, ...]:
    """Every key that the certificate announces must be the one of its id, and have signed."""
    keys = {key_id: _key(spelled, where) for key_id, spelled in certificate.keys.items()}
    signed = envelope.signers(keys.values())  # by the ids that the keys have, whatever they are announced as
    if not keys or signed != keys.keys():
        raise SignatureError(f"{where} is not signed by the key that it names: it was changed; ask for another copy")
    origin = certificate.source.origin
    return tuple(Signer(key_id=key_id, known_as=known_as(key_id, origin=origin)) for key_id in sorted(keys))


def _key(spelled: str, where: str) -> PublicKey:
    try:
        return PublicKey(base64.b64decode(spelled, validate=True))
    except (ValueError, SaintError) as error:
        raise SignatureError(f"{where} holds a key that is none ({error}); ask for another copy") from error
