"""What was cut short, rewritten, forked or put back is seen by what the machine remembers, and told apart."""

import base64
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from saint.errors import ConfigError, LedgerError, NewerFormatError, RememberedError
from saint.registry import Memory, Registry, Standing, Verification, parse_note, remember, verify


@dataclass(frozen=True)
class Pen:
    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


PEN = Pen(Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32))


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAINT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def grown(folder: Path, num_entries: int = 6, *, note: str = "row") -> Registry:
    registry = Registry.open(folder)
    registry.seal.signer = lambda: PEN
    add(registry, num_entries, note)
    return registry


def add(registry: Registry, num_entries: int, note: str = "row") -> None:
    for number in range(num_entries):
        registry.write("noted", {note: number, "small": 1e-9}, contents=[f"{note} {number}".encode()])
    registry.seal.seal()


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("log/*/*.json"))


def moved_to_another_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("SAINT_HOME", str(folder))


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def again(folder: Path) -> Verification:
    return verify(Registry.open(folder, must_exist=True))


def test_what_was_made_here_is_verified_from_the_start(tmp_path: Path) -> None:
    found = verify(grown(tmp_path / "garden"))
    assert (found.standing, found.problems, found.unchecked) == (Standing.EXTENDS, (), ())
    assert (found.num_entries, found.num_checkpoints) == (6, 1)
    [note] = (tmp_path / "garden" / "checkpoints").glob("*.note")
    assert note.name == "000000006.note"
    checkpoint = parse_note(note.read_bytes()).checkpoint
    assert base64.b64encode(checkpoint.root).decode() == found.root


def test_a_new_machine_says_what_it_could_not_check_and_checks_it_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(tmp_path / "garden")
    moved_to_another_machine(monkeypatch, tmp_path / "elsewhere")
    registry = Registry.open(tmp_path / "garden")
    first = verify(registry)
    assert (first.standing, first.problems) == (Standing.UNKNOWN, ())
    assert [said.split(":")[0] for said in first.unchecked] == [
        "the signatures of 1 checkpoints, the last of them 000000006.note",
        "whether entries are missing at the end, or all were written anew",
    ]
    remember(registry, first)
    second = again(tmp_path / "garden")
    assert (second.standing, second.problems, second.unchecked) == (Standing.EXTENDS, (), ())


def test_appending_on_a_new_machine_is_no_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown(tmp_path / "garden")
    moved_to_another_machine(monkeypatch, tmp_path / "elsewhere")
    add(Registry.open(tmp_path / "garden"), 1)
    assert again(tmp_path / "garden").standing is Standing.UNKNOWN


def test_a_checkpoint_from_elsewhere_takes_the_place_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verify(grown(tmp_path / "garden"))
    add(Registry.open(tmp_path / "garden"), 3)
    moved_to_another_machine(monkeypatch, tmp_path / "elsewhere")
    registry = Registry.open(tmp_path / "garden")
    assert not any("missing" in said for said in verify(registry, expected=f"6:{found.root}").unchecked)
    assert "expected" in verify(registry, expected=f"5:{found.root}").problems[0]
    assert "cut short" in verify(registry, expected=f"60:{found.root}").problems[0]
    with pytest.raises(ConfigError, match="give the number of entries and the root"):
        verify(registry, expected="six")


@pytest.mark.parametrize("with_notes", [True, False])
def test_a_log_that_was_cut_short_is_seen_and_not_built_upon(tmp_path: Path, *, with_notes: bool) -> None:
    folder = tmp_path / "garden"
    grown(folder)
    entries(folder)[-1].unlink()
    if with_notes:
        shutil.rmtree(folder / "checkpoints")
    found = again(folder)
    assert found.standing is Standing.SHORTER
    assert "has 5 entries, 6 entries were verified here" in found.problems[-1]
    assert f"saint verify {folder} --anew" in found.problems[-1]
    with pytest.raises(LedgerError, match="cut short"):
        Registry.open(folder).write("noted", {})
    assert len(entries(folder)) == 5


def test_an_older_copy_put_back_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    registry = grown(folder)
    shutil.copytree(folder, tmp_path / "old")
    add(registry, 4)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    assert again(folder).standing is Standing.SHORTER
    assert "an older copy took its place" in again(tmp_path / "old").problems[-1]


def test_a_log_written_anew_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    grown(folder)
    other = tmp_path / "other"
    grown(other, note="other")
    shutil.rmtree(folder / "log")
    shutil.copytree(other / "log", folder / "log")
    shutil.rmtree(folder / "blobs")
    shutil.copytree(other / "blobs", folder / "blobs")
    shutil.rmtree(folder / "checkpoints")
    found = again(folder)
    assert found.standing is Standing.REWRITTEN
    assert "rewritten as a whole" in found.problems[-1]


def test_another_registry_in_its_place_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    registry = grown(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    overwrite(folder / "origin", f"saint-g-{'0' * 32}\n".encode())
    shutil.rmtree(folder / "checkpoints")
    found = again(folder)
    assert found.standing is Standing.REPLACED
    assert registry.seal.memory.recall_place(folder) in found.problems[-1]


def test_a_fork_is_seen_with_where_it_parts(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    registry = grown(one)
    shutil.copytree(one, other)
    add(registry, 3, "ours")
    forked = Registry.open(other)
    forked.seal._has_begun = True  # as on a machine that knew of no other
    for number in range(4):
        forked.write("noted", {"theirs": number})
    with pytest.raises(LedgerError, match="same up to entry 5 and was rewritten after it, or is a fork"):
        forked.seal.seal()
    assert again(other).standing is Standing.PARTED
    assert again(one).problems == ()
    with pytest.raises(LedgerError, match="is a fork"):
        Registry.open(other).write("noted", {})


def test_a_log_can_be_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    grown(folder)
    entries(folder)[-1].unlink()
    shutil.rmtree(folder / "checkpoints")
    registry = Registry.open(folder)
    found = verify(registry, anew=True)
    assert (found.problems, found.standing) == ((), Standing.UNKNOWN)
    assert found.unchecked
    remember(registry, found, anew=True)
    assert again(folder).standing is Standing.EXTENDS
    add(Registry.open(folder), 1)


@pytest.mark.slow
def test_every_flipped_bit_of_an_entry_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    grown(folder)
    for number in (0, 3, 5):
        place = entries(folder)[number]
        content = place.read_bytes()
        for bit in range(8 * len(content)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            overwrite(place, bytes(changed))
            try:
                assert again(folder).problems, bit
            except (LedgerError, NewerFormatError):
                continue
        overwrite(place, content)
    assert again(folder).problems == ()


@pytest.mark.slow
def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    registry = grown(folder)
    [note] = (folder / "checkpoints").glob("*.note")
    content = note.read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        overwrite(note, bytes(changed))
        found = verify(registry)
        assert found.problems or found.unchecked, bit


def test_a_file_cut_at_any_boundary_is_found(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    registry.write("noted", {"text": "x" * 3000}, contents=[bytes(range(256)) * 20])
    blob = next(place for place in (tmp_path / "garden").glob("blobs/*/*"))
    for place in (blob, entries(tmp_path / "garden")[0]):
        content = place.read_bytes()
        for length in range(0, len(content), 512):
            overwrite(place, content[:length])
            try:
                assert again(tmp_path / "garden").problems, length
            except LedgerError:
                continue
        overwrite(place, content)
    assert again(tmp_path / "garden").problems == ()


def test_a_registry_from_before_gets_its_name_and_pages_with_the_next_write(tmp_path: Path) -> None:
    folder = tmp_path / "garden"
    registry = grown(folder)
    for name in ("origin", "FORMAT.md", "verify.py"):
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoints")
    shutil.rmtree(tmp_path / "home")
    first = again(folder)
    assert first.standing is Standing.UNKNOWN
    remember(Registry.open(folder), first)
    assert again(folder).standing is Standing.EXTENDS
    add(Registry.open(folder), 1)
    assert (folder / "origin").read_text() == f"{first.origin}\n"
    assert (folder / "FORMAT.md").exists()
    assert again(folder).problems == ()
    assert registry.folder == folder


@pytest.mark.parametrize("page", ["FORMAT.md", "verify.py"])
def test_a_changed_page_is_found(tmp_path: Path, page: str) -> None:
    registry = grown(tmp_path / "garden")
    overwrite(registry.folder / page, (registry.folder / page).read_bytes() + b"\n")
    assert f"{page} is not what this version" in verify(registry).problems[0]


def test_checkpoints_come_now_and_then_not_with_each_append(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    registry.seal.signer = lambda: PEN
    for number in range(300):
        registry.write("noted", {"row": number})
    registry.seal.seal()
    registry.seal.seal()
    assert sorted(note.name for note in registry.folder.glob("checkpoints/*.note")) == [
        "000000256.note",
        "000000300.note",
    ]


def test_what_is_remembered_never_goes_back_and_does_not_grow_without_end(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    for number in range(150):
        registry.write("noted", {"row": number})
        registry.seal.seal()
    known = Memory().recall(registry.seal.origin())
    assert known is not None
    assert known.size == 150
    assert len(known.checkpoints) <= 64


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"origin":"x","checkpoints":[],"keys":[],"place":"","time":""}'])
def test_a_damaged_memory_is_not_taken_for_none(tmp_path: Path, content: str) -> None:
    registry = grown(tmp_path / "garden")
    [place] = (tmp_path / "home" / "seen").glob("*.json")
    place.write_text(content)
    with pytest.raises(RememberedError, match="delete it") as damaged:
        verify(registry)
    assert damaged.value.exit_status == 3


def bare(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", "-S", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_registry_copied_elsewhere_is_checked_without_this_package(tmp_path: Path) -> None:
    found = verify(grown(tmp_path / "garden"))
    copy = shutil.copytree(tmp_path / "garden", tmp_path / "copy")
    done = bare(copy / "verify.py")
    assert done.returncode == 3, done.stderr
    assert f"head {found.head}\ncheckpoint 6:{found.root}\n" in done.stdout
    assert "could not check whether the log was cut short" in done.stdout
    assert bare(copy / "verify.py", copy, "--expect", f"6:{found.root}").returncode == 0
    assert bare(copy / "verify.py", copy, "--expect", f"7:{found.root}").returncode == 1
    assert bare(copy / "verify.py", tmp_path).returncode == 2
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    script = "\n".join(commands[:4])
    checked = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in checked.stdout, checked.stderr


def harm(folder: Path, how: str) -> None:
    third, fourth = entries(folder)[2:4]
    contents = third.read_bytes(), fourth.read_bytes()
    if how == "edited":
        overwrite(third, contents[0].replace(b'"row":2', b'"row":7'))
    elif how == "respelled":
        overwrite(entries(folder)[-1], json.dumps(json.loads(entries(folder)[-1].read_bytes())).encode())
    elif how == "removed":
        third.unlink()
    elif how == "swapped":
        overwrite(third, contents[1])
        overwrite(fourth, contents[0])
    elif how == "cut short":
        entries(folder)[-1].unlink()
    elif how == "blob":
        overwrite(next(place for place in folder.glob("blobs/*/*")), b"other")
    elif how == "note":
        note = next(folder.glob("checkpoints/*.note"))
        overwrite(note, note.read_bytes().replace(b"\n6\n", b"\n5\n"))


@pytest.mark.parametrize("how", ["edited", "respelled", "removed", "swapped", "cut short", "blob", "note"])
def test_what_was_tampered_with_is_found_with_and_without_this_package(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "garden"
    grown(folder)
    harm(folder, how)
    done = bare(folder / "verify.py")
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem: " in done.stdout
    try:
        assert again(folder).problems
    except LedgerError as error:
        assert "restore" in str(error)  # noqa: PT017 - either way of telling will do
