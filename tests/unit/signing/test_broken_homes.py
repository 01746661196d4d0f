"""What this machine keeps about a registry is damaged: then nothing is said to be checked, and the rest still is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saint import records
from saint.cli.main import main
from saint.errors import LedgerError, StorageError
from saint.registry import Registry
from saint.registry._disk import Disk
from saint.signing import sign_entries
from signed_garden import ROSE, Machines, judge, open_signed


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    Machines(tmp_path, monkeypatch).at("owner")  # whose home it is
    garden = open_signed(tmp_path / "garden")
    judge(garden, ROSE)
    garden.seal.seal()
    return garden


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "owner"


def verify(garden: Registry, *options: str) -> Result:
    return CliRunner().invoke(main, ["verify", str(garden.folder), *options])


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def becomes_a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


KEYS: dict[str, Callable[[Path], object]] = {
    "a key that is none": lambda home: only(home, "keys/*.pem").write_bytes(b"junk"),
    "a key that others can read": lambda home: only(home, "keys/*.pem").chmod(0o644),
    "a public key that is none": lambda home: only(home, "keys/*.pub").write_bytes(b"\xff"),
    "an empty trust file": lambda home: only(home, "trust/*").write_bytes(b""),
    "a deep trust file": lambda home: only(home, "trust/*").write_bytes(b"[" * 50_000),
    "a trust file that cannot be read": lambda home: becomes_a_folder(only(home, "trust/*")),
}


@pytest.mark.parametrize("what", KEYS)
def test_what_could_not_be_checked_for_want_of_a_key_does_not_pass(garden: Registry, home: Path, what: str) -> None:
    assert verify(garden).exit_code == verify(garden, "--signatures").exit_code == 0
    KEYS[what](home)
    for options in ((), ("--signatures",)):
        said = verify(garden, *options)
        assert said.exit_code == 3, said.output
        assert "could not check" in said.output
        assert "verified" not in said.output.splitlines()
    [blob, *_] = sorted(garden.folder.glob("blobs/*/*"))
    blob.unlink()
    assert verify(garden).exit_code == 1  # all else was checked


def test_a_trust_file_that_is_newer_than_the_ledger_s_is_a_problem(garden: Registry, home: Path) -> None:
    place = only(home, "trust/*")
    place.write_text(records.to_canonical({**json.loads(place.read_bytes()), "version": 9}))
    for options in ((), ("--signatures",)):
        said = verify(garden, *options)
        assert said.exit_code == 1
        assert "problem: the registry's trust file has version 1, and 9 was seen before" in said.output


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"origin": "saint-g-another"},
        {"checkpoints": []},
        {"checkpoints": [[-5, "0" * 64]]},
        {"checkpoints": [[True, "0" * 64]]},
        {"checkpoints": [[float("inf"), "0" * 64]]},
        {"checkpoints": [[2, "not a root"]]},
        {"checkpoints": [[2, "0" * 64], [1, "0" * 64]]},
        {"checkpoints": [5]},
        {"keys": ["zz"]},
        {"keys": ["aa"]},
        {"keys": [5]},
    ],
)
def test_a_memory_that_is_none_holds_nothing_against_anything(garden: Registry, home: Path, changes: object) -> None:
    place = only(home, "seen/*.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **dict(changes)}))  # type: ignore[call-overload]
    said = verify(garden)
    assert said.exit_code == 3
    assert "cannot be read" in said.output


def test_a_deep_memory_is_none(garden: Registry, home: Path) -> None:
    only(home, "seen/*.json").write_text("[" * 50_000)
    assert verify(garden).exit_code == 3


def test_a_verification_that_cannot_be_remembered_says_so_beside_what_it_found(garden: Registry, home: Path) -> None:
    becomes_a_folder(home / "seen" / ".lock")
    said = verify(garden)
    assert said.exit_code == 3
    assert "entries, " in said.output
    assert "could not check in later verifications that nothing of this is missing" in said.output


def test_a_folder_whose_name_is_no_text_is_remembered_too(garden: Registry) -> None:
    odd = garden.folder.with_name("\udcff")
    shutil.copytree(garden.folder, odd)
    opened = Registry.open(odd)
    opened.write("noted", {})
    assert opened.seal.seal() is not None
    assert opened.seal.memory.recall_place(odd) == opened.origin


def test_a_first_entry_that_was_refused_leaves_no_trust_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all that is read and written later would look as if the log had been cut."""
    Machines(tmp_path, monkeypatch).at("owner")
    registry = Registry.open(tmp_path / "garden")
    registry.write("noted", {})
    assert verify(registry).exit_code == 0
    sign_entries(registry)
    body = {"graft": ROSE.digest, "reason": "it never stood"}
    with pytest.raises(LedgerError, match="did not stand"):
        registry.write("rolled_back", body)
    with monkeypatch.context() as patch:
        patch.setattr(Disk, "link", lambda *_: Path("/nowhere").stat())
        with pytest.raises(StorageError):
            judge(registry, ROSE)
    assert list(tmp_path.glob("owner/trust/*")) == []
    assert verify(registry).exit_code == 0
    judge(open_signed(registry.folder), ROSE)
    assert len(list(tmp_path.glob("owner/trust/*"))) == 1
    assert verify(registry, "--signatures").output.splitlines()[-1] == "verified"
