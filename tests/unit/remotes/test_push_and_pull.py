"""Push and pull: a copy is the same to the byte, only ever goes forward, and goes on where it was stopped."""

import json
import os
import shutil
from pathlib import Path

import pytest

from interrupting import StopsAfter
from made_up_registry import contents, registry_of
from saint.errors import (
    ForkError,
    Interrupted,
    LedgerError,
    NewerFormatError,
    NotARegistryError,
    RemoteContentError,
    RemoteError,
)
from saint.records import to_canonical
from saint.registry import Registry, verify
from saint.remotes import Caps, FolderRemote, pull, push


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def blobs(folder: Path) -> list[Path]:
    return sorted(folder.glob("blobs/*/*"))


def test_what_is_pulled_is_what_was_pushed_to_the_byte(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    pushed = push(registry, FolderRemote(tmp_path / "there"))
    assert (pushed.num_entries, pushed.num_blobs, pushed.num_behind) == (5, 5, 0)
    copy, pulled = pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert (pulled.num_entries, pulled.num_blobs, pulled.num_ahead) == (5, 5, 0)
    assert contents(copy.folder) == contents(registry.folder)
    assert verify(copy).problems == ()


def test_only_what_is_new_travels_again(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    there = FolderRemote(tmp_path / "there")
    push(registry, there)
    pull(there, tmp_path / "copy")
    registry.write("noted", {"row": 5}, contents=[b"one more"])
    assert push(registry, there).num_entries == 1
    assert push(registry, there).num_entries == 0
    copy, pulled = pull(there, tmp_path / "copy")
    assert (pulled.num_entries, pulled.num_blobs, pulled.num_bytes) == (1, 1, 8)
    assert contents(copy.folder) == contents(registry.folder)
    assert pull(there, tmp_path / "copy")[1].num_entries == 0


def test_a_side_that_is_ahead_is_told_of_and_nothing_is_taken_from_it(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    there = FolderRemote(tmp_path / "there")
    push(registry, there)
    copy, _ = pull(there, tmp_path / "copy")
    copy.write("noted", {"row": 5})
    copy.seal.seal()
    assert pull(there, copy.folder)[1].num_ahead == 1
    assert len(copy.ledger.events()) == 6
    push(copy, there)
    assert push(registry, there).num_behind == 1


def test_a_fork_is_named_by_its_first_entry_and_neither_side_changes(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    there = FolderRemote(tmp_path / "there")
    push(registry, there)
    copy, _ = pull(there, tmp_path / "copy")
    for side, row in ((registry, 6), (copy, 7)):
        side.write("noted", {"row": row})
        side.write("noted", {"row": 8})
    push(registry, there)
    before, beyond = contents(copy.folder), contents(tmp_path / "there")
    with pytest.raises(ForkError, match=r"entry 5 of .*there is not entry 5 in .*copy"):
        pull(there, copy.folder)
    with pytest.raises(ForkError, match=r"entry 5 of .*saint log"):
        push(copy, there)
    assert contents(copy.folder) == before
    assert {n: c for n, c in contents(tmp_path / "there").items() if n.startswith("log")} == {
        n: c for n, c in beyond.items() if n.startswith("log")
    }


def test_two_registries_with_nothing_in_common_are_a_fork_at_the_first_entry(tmp_path: Path) -> None:
    push(registry_of(tmp_path / "one", word="one"), FolderRemote(tmp_path / "there"))
    with pytest.raises(ForkError, match="entry 0 "):
        push(registry_of(tmp_path / "other", word="other"), FolderRemote(tmp_path / "there"))


@pytest.mark.parametrize("after", range(1, 10))
def test_a_push_that_was_stopped_goes_on(tmp_path: Path, after: int) -> None:
    registry = registry_of(tmp_path / "here")
    with pytest.raises(Interrupted):
        push(registry, FolderRemote(tmp_path / "there"), progress=StopsAfter(after))
    push(registry, FolderRemote(tmp_path / "there"))
    assert contents(tmp_path / "there") == contents(registry.folder)


@pytest.mark.parametrize("after", range(1, 10))
def test_a_pull_that_was_stopped_has_no_name_yet_and_goes_on(tmp_path: Path, after: int) -> None:
    registry = registry_of(tmp_path / "here")
    with pytest.raises(Interrupted):
        pull(FolderRemote(registry.folder), tmp_path / "copy", progress=StopsAfter(after))
    assert not (tmp_path / "copy").exists()
    copy, pulled = pull(FolderRemote(registry.folder), tmp_path / "copy")
    assert pulled.num_blobs == 10 - after if after > 5 else pulled.num_blobs == 5
    assert contents(copy.folder) == contents(registry.folder)
    assert list(tmp_path.glob(".copy*")) == []


@pytest.mark.parametrize("after", range(1, 4))
def test_a_registry_whose_update_was_stopped_still_verifies(tmp_path: Path, after: int) -> None:
    registry = registry_of(tmp_path / "here", 3)
    copy, _ = pull(FolderRemote(registry.folder), tmp_path / "copy")
    registry.write("noted", {}, contents=[b"a", b"b"])
    registry.write("noted", {}, contents=[b"c"])
    with pytest.raises(Interrupted):
        pull(FolderRemote(registry.folder), copy.folder, progress=StopsAfter(after))
    assert verify(copy).problems == ()
    pull(FolderRemote(registry.folder), copy.folder)
    assert contents(copy.folder) == contents(registry.folder)


def test_a_draft_of_another_registry_is_not_gone_on_with(tmp_path: Path) -> None:
    one, other = registry_of(tmp_path / "one", word="one"), registry_of(tmp_path / "other", word="other")
    shutil.copytree(one.folder, tmp_path / ".copy.pulling")
    copy, _ = pull(FolderRemote(other.folder), tmp_path / "copy")
    assert [event.digest for event in copy.ledger] == [event.digest for event in other.ledger]


@pytest.mark.parametrize("number", range(4))  # of the last, only a checkpoint can tell
def test_an_entry_that_was_changed_on_the_remote_is_refused(tmp_path: Path, number: int) -> None:
    registry_of(tmp_path / "there")
    entry = tmp_path / "there" / "log" / "000000" / f"{number:09d}.json"
    overwrite(entry, entry.read_bytes().replace(b'"row":', b'"wor":'))
    with pytest.raises(RemoteContentError, match="does not add up"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "digest",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "A" * 64,
        "0" * 63,
        "0" * 65,
        "sha256:" + "0" * 64,
        "0" * 64 + "\n",
        7,
        None,
    ],
)
def test_a_digest_that_is_none_is_refused_before_a_path_is_made(tmp_path: Path, digest: object) -> None:
    registry_of(tmp_path / "there", 3)
    entry = tmp_path / "there" / "log" / "000000" / "000000002.json"
    overwrite(entry, to_canonical(json.loads(entry.read_bytes()) | {"blobs": [digest]}).encode())
    with pytest.raises(RemoteContentError, match="does not have what every entry has"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"number":' + b"1" * 5000 + b"}",
        b'{"blobs":[],"body":{"x":NaN}}',
        b'{"format":1}',
    ],
)
def test_an_entry_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    registry_of(tmp_path / "there", 3)
    overwrite(tmp_path / "there" / "log" / "000000" / "000000002.json", content)
    with pytest.raises(RemoteContentError, match="does not add up"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


def test_an_entry_that_its_kind_cannot_be_is_refused(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "there", 2)
    entry = json.loads((tmp_path / "there/log/000000/000000001.json").read_bytes())
    more = entry | {"number": 2, "previous": registry.ledger.events()[-1].digest, "event": "rolled_back", "body": {}}
    (tmp_path / "there/log/000000/000000002.json").write_bytes(to_canonical(more).encode())
    with pytest.raises(RemoteContentError, match="entry 2 does not say what"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


@pytest.mark.parametrize("change", [b"", b"x", b"something else", bytes(10_000)])
def test_a_blob_with_other_bytes_is_refused_and_not_kept(tmp_path: Path, change: bytes) -> None:
    registry_of(tmp_path / "there")
    overwrite(blobs(tmp_path / "there")[2], change)
    with pytest.raises(RemoteContentError, match="bytes came as blob"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_blob_that_is_larger_than_allowed_is_cut_off(tmp_path: Path) -> None:
    registry_of(tmp_path / "there")
    with pytest.raises(RemoteContentError, match="sends more than 10 bytes as blobs/"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy", caps=Caps(blob=10))


def test_links_and_pipes_on_a_stick_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    registry_of(tmp_path / "there")
    for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo, os.mkdir):
        blob = blobs(tmp_path / "there")[1]
        blob.unlink() if not blob.is_dir() else blob.rmdir()
        make(blob)
        with pytest.raises((RemoteContentError, RemoteError), match=r"is not a file|cannot be read"):
            pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RemoteContentError, match="there is no registry at"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    registry_of(tmp_path / "there")
    blobs(tmp_path / "there")[0].unlink()
    with pytest.raises(RemoteContentError, match="has no blobs/"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    (tmp_path / "there/log/000000/000000001.json").unlink()
    with pytest.raises(RemoteContentError, match="entry 1 is missing"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    (tmp_path / "there/registry.json").unlink()
    with pytest.raises(RemoteContentError, match=r"entries but no registry\.json"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


@pytest.mark.parametrize(
    "marker", [b"", b"[]", b"{}", b'{"format":true,"hash":"sha256"}', b'{"format":1,"hash":"md5"}']
)
def test_a_marker_that_no_registry_has(tmp_path: Path, marker: bytes) -> None:
    registry_of(tmp_path / "there")
    overwrite(tmp_path / "there" / "registry.json", marker)
    with pytest.raises(RemoteContentError, match=r"registry\.json|says format"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


def test_a_newer_format_could_not_be_checked(tmp_path: Path) -> None:
    registry_of(tmp_path / "there")
    overwrite(tmp_path / "there" / "registry.json", b'{"format":2,"hash":"sha256"}')
    with pytest.raises(NewerFormatError, match="update saint-g"):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    registry_of(tmp_path / "there")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter.txt").write_text("dear")
    with pytest.raises(NotARegistryError):
        pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["letter.txt"]


def test_a_registry_with_a_rotten_blob_is_not_pushed(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    overwrite(blobs(tmp_path / "here")[3], b"rot")
    with pytest.raises(LedgerError, match="was changed"):
        push(registry, FolderRemote(tmp_path / "there"))
    assert not list((tmp_path / "there").glob("log/*/*"))


def test_a_rotten_blob_on_the_remote_is_found_by_the_push_that_names_it(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    remote = FolderRemote(tmp_path / "there")
    name = blobs(tmp_path / "here")[0].relative_to(tmp_path / "here").as_posix()
    remote.create(name, b"somebody was here first")
    with pytest.raises(RemoteContentError, match=r"holds something else as blobs/|sends more than"):
        push(registry, remote)


def test_code_and_pages_do_not_come_in(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "there")
    (registry.folder / "verify.py").unlink(missing_ok=True)
    (registry.folder / "verify.py").write_text("import os")
    (registry.folder / "log" / "evil.py").write_text("import os")
    copy, _ = pull(FolderRemote(registry.folder), tmp_path / "copy")
    assert not (copy.folder / "log" / "evil.py").exists()
    assert not any(path.read_text() == "import os" for path in copy.folder.glob("*.py"))


def test_two_that_push_at_once_have_one_winner(tmp_path: Path) -> None:
    one, there = registry_of(tmp_path / "one"), FolderRemote(tmp_path / "there")
    push(one, there)
    other, _ = pull(there, tmp_path / "other")
    one.write("noted", {"who": "one"})
    other.write("noted", {"who": "other"})

    class Meanwhile(StopsAfter):
        def advance(self, amount: int) -> None:  # noqa: ARG002
            if self.left == 1:
                self.left = 0
                push(other, FolderRemote(tmp_path / "there"))

    one.write("noted", {"who": "one"}, contents=[b"takes a while"])
    with pytest.raises(ForkError, match="entry 5"):
        push(one, there, progress=Meanwhile(1))
    assert json.loads((tmp_path / "there/log/000000/000000005.json").read_bytes())["body"] == {"who": "other"}
    assert Registry.open(tmp_path / "there").ledger.events()
