"""Signed notes: the published form, checked by openssl, and no bit of one can change unseen."""

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from saint.errors import CheckpointKeyError, LedgerError
from saint.registry import Checkpoint, key_hash, merkle_root, parse_note


@dataclass(frozen=True)
class Pen:
    """The least that can sign."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


PEN, OTHER = (Pen(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (1, 2))
CHECKPOINT = Checkpoint(origin="saint-g-0123", size=43, root=merkle_root([b"an entry"]))
NOTE = CHECKPOINT.to_note(PEN).encode()
SOUND = NOTE.decode()


def test_a_note_is_read_as_it_was_written() -> None:
    assert Checkpoint.from_note(NOTE, [OTHER.public, PEN.public]) == CHECKPOINT
    twice = CHECKPOINT.to_note(PEN, OTHER).encode()
    assert parse_note(twice).signed_by([OTHER.public, PEN.public]) == (OTHER.public, PEN.public)


def test_the_published_example_of_a_key_hash() -> None:
    """The checksum database of Go: its public key is "sum.golang.org+033de0ae+" and what is decoded here."""
    key = base64.b64decode("Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    assert key[0] == 1
    assert key_hash("sum.golang.org", key[1:]).hex() == "033de0ae"


def test_openssl_checks_the_signature(tmp_path: Path) -> None:
    line = NOTE.decode().splitlines()[-1]
    (tmp_path / "message").write_bytes(CHECKPOINT.message)
    (tmp_path / "signature").write_bytes(base64.b64decode(line.split(" ")[2])[4:])
    pem = PEN.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    options = {"-inkey": "key.pem", "-in": "message", "-sigfile": "signature"}
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-rawin",
        *(part for pair in options.items() for part in pair),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in done.stdout
    (tmp_path / "message").write_bytes(CHECKPOINT.message.replace(b"43", b"44"))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_every_flipped_bit_of_a_note_is_found() -> None:
    for bit in range(8 * len(NOTE)):
        changed = bytearray(NOTE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((LedgerError, CheckpointKeyError)):
            Checkpoint.from_note(bytes(changed), [PEN.public])


def test_every_shortened_note_is_found() -> None:
    for length in range(len(NOTE)):
        with pytest.raises(LedgerError, match="is not a signed checkpoint"):
            Checkpoint.from_note(NOTE[:length], [PEN.public])


def test_a_note_by_nobody_known_could_not_be_checked() -> None:
    with pytest.raises(CheckpointKeyError, match="by none of the keys") as unknown:
        Checkpoint.from_note(NOTE, [OTHER.public])
    assert unknown.value.exit_status == 3


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "\n\n",
        SOUND.replace("\n43\n", "\n043\n"),
        SOUND.replace("\n43\n", "\n+43\n"),
        SOUND.replace("\n43\n", "\n4_3\n"),
        SOUND.replace("\n43\n", "\n٤٣\n"),
        SOUND.replace("\n43\n", f"\n{'9' * 19}\n"),
        SOUND.replace("\n", "\r\n"),
        SOUND.replace("=\n", "\n", 1),
        SOUND.replace("\u2014 ", "- "),
        SOUND.replace("\u2014 saint", "\u2014 sa+int"),
        SOUND + SOUND.splitlines()[-1] * 2,
        SOUND + (SOUND.splitlines()[-1] + "\n") * 20,
        SOUND + "x" * 100_000,
        CHECKPOINT.message.decode() + "\n\u2014 saint-g-0123 AAAA\n",
        SOUND.replace("saint-g-0123\n", "\n", 1),
    ],
)
def test_a_malformed_note_is_refused_in_one_sentence(malformed: str) -> None:
    with pytest.raises(LedgerError, match=r"^here is not a signed checkpoint \(.+\); restore it from a copy$"):
        parse_note(malformed.encode(), where="here")


def test_lines_that_another_log_adds_are_signed_and_kept() -> None:
    message = CHECKPOINT.message + b"a line of its own\n"
    line = SOUND.splitlines()[-1]
    encoded = base64.b64encode(base64.b64decode(line.split(" ")[2])[:4] + PEN.sign(message)).decode()
    note = message.decode() + f"\n\u2014 {CHECKPOINT.origin} {encoded}\n"
    assert Checkpoint.from_note(note.encode(), [PEN.public]) == CHECKPOINT
