"""A signature is over payload and type, and checks in three implementations: ours, securesystemslib's, openssl."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings, strategies as st
from securesystemslib.dsse import Envelope as Oracle
from securesystemslib.signer import CryptoSigner, SSlibKey

from saint.errors import SignatureError
from saint.signing import Envelope, Key, make_key, pae, read_envelope, sign, verify


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "ada.pem")


@pytest.fixture
def other(tmp_path: Path) -> Key:
    return make_key(tmp_path / "bob.pem")


def test_another_implementation_accepts_what_we_sign(key: Key) -> None:
    ours = sign("application/x", b'{"a":1}', key)
    theirs = Oracle.from_dict(json.loads(ours.to_bytes()))
    crypto = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key.public), keyid=key.key_id)
    assert set(theirs.verify([crypto], 1)) == {key.key_id}


def test_we_accept_what_another_implementation_signs(key: Key) -> None:
    crypto = SSlibKey.from_crypto(key._private.public_key(), keyid=key.key_id)
    theirs = Oracle(b"payload", "application/x", {})
    theirs.sign(CryptoSigner(key._private, crypto))
    assert verify(read_envelope(json.dumps(theirs.to_dict()).encode()), [key.public_key], 1) == {key.key_id}


@given(kind=st.text(max_size=20), payload=st.binary(max_size=40))
@settings(max_examples=50, deadline=None)
def test_what_is_signed_is_spelled_as_another_implementation_does(kind: str, payload: bytes) -> None:
    kind = kind.encode("utf-8", "ignore").decode()
    assert pae(kind, payload) == Oracle(payload, kind, {}).pae()


def test_plain_openssl_checks_a_signature(key: Key, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    envelope = sign("application/x", b"payload", key)
    (tmp_path / "pae").write_bytes(pae("application/x", b"payload"))
    (tmp_path / "other").write_bytes(pae("application/x", b"Payload"))
    (tmp_path / "sig").write_bytes(envelope.signatures[0][1])
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "ada.pub", "-sigfile", "sig", "-in"]
    said = [
        subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True, check=False)
        for name in ("pae", "other")
    ]
    assert [one.returncode for one in said] == [0, 1]
    assert "Verified Successfully" in said[0].stdout


def test_payload_and_type_cannot_be_changed_or_moved(key: Key) -> None:
    envelope = sign("application/x", b"accept", key)
    for changed in (
        replace(envelope, payload=b"reject"),
        replace(envelope, payload_type="application/y"),
        replace(envelope, payload_type="application/xa", payload=b"ccept"),
    ):
        with pytest.raises(SignatureError, match="0 of the keys"):
            verify(changed, [key.public_key], 1)


def test_every_flipped_bit_of_a_signature_is_found(key: Key) -> None:
    envelope = sign("application/x", b"accept", key)
    [(key_id, signature)] = envelope.signatures
    for bit in range(8 * len(signature)):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not replace(envelope, signatures=((key_id, bytes(flipped)),)).signers([key.public_key])


def test_a_threshold_counts_different_keys(key: Key, other: Key) -> None:
    once = sign("application/x", b"payload", key)
    twice = replace(once, signatures=once.signatures * 2)
    renamed = replace(once, signatures=(*once.signatures, (other.key_id, once.signatures[0][1])))
    for envelope in (once, twice, renamed):
        with pytest.raises(SignatureError, match="1 of the keys"):
            verify(envelope, [key.public_key, key.public_key, other.public_key], 2)
    both = once.with_signatures_of(other)
    assert verify(both, [key.public_key, other.public_key], 2) == {key.key_id, other.key_id}


def test_an_envelope_comes_back_from_its_file(key: Key, other: Key) -> None:
    envelope = sign("application/x", b"\x00payload", key, other)
    assert read_envelope(envelope.to_bytes()) == envelope


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"payload":"!","payloadType":"x","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":[{"sig":""}]}',
        b'{"payload":1,"payloadType":"x","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":5}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    with pytest.raises(SignatureError, match="no DSSE envelope"):
        read_envelope(content)


def test_an_envelope_without_signatures_has_no_signers(key: Key) -> None:
    assert Envelope(payload_type="x", payload=b"", signatures=()).signers([key.public_key]) == frozenset()
