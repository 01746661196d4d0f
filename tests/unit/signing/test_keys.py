"""Keys are files that only their owner reads, that openssl and OpenSSH know, and that nothing prints."""

import base64
import hashlib
import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from saint.cli.main import main
from saint.errors import KeyFileError
from saint.registry import Registry
from saint.signing import NoteSigner, NoteVerifier, home, load_key, load_public, make_key


def test_a_key_is_its_owner_s_alone_and_comes_back(tmp_path: Path) -> None:
    made = make_key(tmp_path / "ada.pem")
    assert stat.S_IMODE((tmp_path / "ada.pem").stat().st_mode) == 0o600
    loaded = load_key(tmp_path / "ada.pem")
    assert loaded.key_id == made.key_id == load_public(tmp_path / "ada.pub").key_id
    assert made.sign(b"text") == loaded.sign(b"text")
    assert loaded.verify(b"text", made.sign(b"text"))
    assert not loaded.verify(b"other text", made.sign(b"text"))
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["ada.pem", "ada.pub"]


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    before = make_key(tmp_path / "ada.pem")
    with pytest.raises(KeyFileError, match="exists already"):
        make_key(tmp_path / "ada.pem")
    assert load_key(tmp_path / "ada.pem").key_id == before.key_id


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "ada.pem")
    (tmp_path / "ada.pem").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(tmp_path / "ada.pem")


def test_a_passphrase_locks_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_one = make_key(tmp_path / "open.pem")
    monkeypatch.setenv("SAINT_KEY_PASSPHRASE", "correct horse")
    made = make_key(tmp_path / "ada.pem")
    assert b"ENCRYPTED" in (tmp_path / "ada.pem").read_bytes()
    assert load_key(tmp_path / "ada.pem").key_id == made.key_id
    assert load_key(tmp_path / "open.pem").key_id == open_one.key_id
    monkeypatch.setenv("SAINT_KEY_PASSPHRASE", "wrong")
    with pytest.raises(KeyFileError, match="passphrase"):
        load_key(tmp_path / "ada.pem")
    monkeypatch.delenv("SAINT_KEY_PASSPHRASE")
    with pytest.raises(KeyFileError, match="SAINT_KEY_PASSPHRASE"):
        load_key(tmp_path / "ada.pem")


def test_openssh_keys_load(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    openssh, public = serialization.PrivateFormat.OpenSSH, serialization.PublicFormat.OpenSSH
    private = key.private_bytes(serialization.Encoding.PEM, openssh, serialization.NoEncryption())
    (tmp_path / "id_ed25519").write_bytes(private)
    (tmp_path / "id_ed25519").chmod(0o600)
    (tmp_path / "id.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.OpenSSH, public))
    assert load_key(tmp_path / "id_ed25519").key_id == load_public(tmp_path / "id.pub").key_id


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "key.pem"
    place.write_bytes(content)
    place.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"key\.pem"):
        load_key(place)
    with pytest.raises(KeyFileError, match=r"key\.pem"):
        load_public(place)
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_key(tmp_path / "missing.pem")


def test_keys_of_another_sort_are_refused(tmp_path: Path) -> None:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    content = generate_private_key(SECP256R1()).private_bytes(pem, pkcs8, serialization.NoEncryption())
    (tmp_path / "ec.pem").write_bytes(content)
    (tmp_path / "ec.pem").chmod(0o600)
    with pytest.raises(KeyFileError, match="another sort"):
        load_key(tmp_path / "ec.pem")


def test_an_id_is_what_openssl_and_sha256sum_make_of_the_key(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = make_key(tmp_path / "ada.pem")
    command = ["openssl", "pkey", "-in", str(tmp_path / "ada.pem"), "-pubout", "-outform", "DER"]
    der = subprocess.run(command, capture_output=True, check=True).stdout
    assert hashlib.sha256(der).hexdigest() == made.key_id


def test_no_command_and_no_text_shows_a_private_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAINT_HOME", str(tmp_path))
    assert home() == tmp_path
    run = CliRunner().invoke
    said = [run(main, ["keys", *words]) for words in (["make", "ada"], ["list"], ["show", "ada"], ["list", "--json"])]
    said += [run(main, ["keys", "make", "ada"]), run(main, ["keys", "show", "../ada"])]
    assert [one.exit_code for one in said] == [0, 0, 0, 0, 2, 2]
    assert [one["name"] for one in json.loads(said[3].output)] == ["ada"]
    secret = "".join((tmp_path / "keys" / "ada.pem").read_text(encoding="utf-8").splitlines()[1:-1])
    key = load_key(tmp_path / "keys" / "ada.pem")
    raw = base64.b64decode(secret)[-32:]
    shown = "".join(one.output for one in said) + repr(key) + str(key) + repr(vars(key.public_key))
    assert secret not in shown
    assert raw.hex() not in shown
    assert base64.b64encode(raw).decode() not in shown


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 65])
def test_a_name_is_no_way_to_another_file(name: str) -> None:
    assert CliRunner().invoke(main, ["keys", "make", name]).exit_code == 2


def test_a_note_s_key_is_named_as_c2sp_has_it(tmp_path: Path) -> None:
    key = make_key(tmp_path / "log.pem")
    signer = NoteSigner("example.org/garden", key)
    expected = hashlib.sha256(b"example.org/garden\n\x01" + key.public).digest()[:4]
    assert signer.key_hash == expected
    verifier = NoteVerifier("example.org/garden", key.public_key)
    assert verifier.verify(b"text\n", signer.sign(b"text\n"))
    assert not verifier.verify(b"text", signer.sign(b"text\n"))
    name, hashed, public = verifier.to_vkey().split("+", 2)
    assert (name, bytes.fromhex(hashed), base64.b64decode(public)) == (signer.name, expected, b"\x01" + key.public)
    for wrong in ("", "two words", "a+b"):
        with pytest.raises(KeyFileError, match="no name"):
            NoteVerifier(wrong, key.public_key)


def test_the_published_verifier_key_of_go_s_notes_checks() -> None:
    """The example of golang.org/x/mod/sumdb/note, another implementation's."""
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    name, hashed, encoded = vkey.split("+", 2)
    from saint.signing import PublicKey

    verifier = NoteVerifier(name, PublicKey(base64.b64decode(encoded)[1:]))
    signed = base64.b64decode(line)
    assert verifier.key_hash.hex() == hashed
    assert verifier.key_hash == signed[:4]
    assert verifier.verify(text, signed[4:])
    assert not verifier.verify(text + b"\n", signed[4:])


@pytest.mark.parametrize(
    "content", [b"[root]\nkeys = ['\xe9']\n", b"[root]\nkeys = 5\n", b"root = 5\n", b"a = " + b"[" * 5000]
)
def test_roles_that_are_none_are_a_wrong_usage(tmp_path: Path, content: bytes) -> None:
    Registry.open(tmp_path / "garden")
    (tmp_path / "roles.toml").write_bytes(content)
    arguments = ["keys", "roles", str(tmp_path / "garden"), "--set", str(tmp_path / "roles.toml")]
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 2, said.output
