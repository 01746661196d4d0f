"""Samples, repair from a copy, collection of what nobody names, and the doctor."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saint.cli.main import main
from saint.registry import Registry, collect, examine, find, repair, verify
from saint.registry._store import Store
from saint.remotes import FolderRemote

DAY = 86400.0


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry.open(tmp_path / "garden")
    for row in range(6):
        registry.write("noted", {"row": row}, contents=[f"seed {row}".encode()])
    return registry


@pytest.fixture
def copy(registry: Registry, tmp_path: Path) -> Path:
    shutil.copytree(registry.folder, tmp_path / "copy")
    return tmp_path / "copy"


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def age(path: Path, days: float) -> None:
    long_ago = time.time() - days * DAY
    os.utime(path, (long_ago, long_ago))


def saint(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_sample_reads_its_share_and_says_so(registry: Registry) -> None:
    found = verify(registry, sample=0.3)
    assert (found.num_blobs, found.num_unread, found.num_bytes) == (6, 4, 2 * len("seed 0"))
    said = saint("verify", registry.folder, "--read-data", "--sample", "30%")
    assert said.exit_code == 0
    assert "4 of the blobs are there, but were not read" in said.output
    assert said.output.splitlines()[-1] == "verified as far as it was read"
    assert saint("verify", registry.folder, "--read-data").output.splitlines()[-1] == "verified"
    for wrong in ("0%", "101%", "some"):
        assert saint("verify", registry.folder, "--sample", wrong).exit_code == 2


def test_a_sample_finds_what_is_missing_and_some_of_what_rots(registry: Registry) -> None:
    gone, *others = sorted(registry.folder.glob("blobs/*/*"))
    gone.unlink()
    assert all("is missing" in verify(registry, sample=0.01).problems[0] for _ in range(5))
    for other in others:
        overwrite(other, b"rot")
    assert len(verify(registry, sample=0.5).problems) >= 3


def test_what_rotted_or_is_missing_is_taken_from_a_copy(registry: Registry, copy: Path) -> None:
    entries, blobs = sorted(registry.folder.glob("log/*/*")), sorted(registry.folder.glob("blobs/*/*"))
    before = {path: path.read_bytes() for path in [*entries, *blobs]}
    overwrite(entries[0], b"{}")
    entries[3].unlink()
    overwrite(blobs[1], b"rot")
    blobs[4].unlink()
    done = repair(Registry.open(registry.folder), FolderRemote(copy))
    assert (done.entries, len(done.blobs), done.problems) == ((0, 3), 2, ())
    assert {path: path.read_bytes() for path in before} == before
    assert verify(Registry.open(registry.folder)).problems == ()
    assert len(list(registry.folder.glob("trash/*"))) == 2
    assert repair(registry, FolderRemote(copy)).blobs == ()


def test_a_copy_is_not_believed(registry: Registry, copy: Path) -> None:
    entry, blob = sorted(registry.folder.glob("log/*/*"))[2], sorted(registry.folder.glob("blobs/*/*"))[0]
    overwrite(blob, b"rot")
    theirs = copy / blob.relative_to(registry.folder)
    overwrite(theirs, b"what they would like")
    [problem] = repair(registry, FolderRemote(copy)).problems
    assert f"{copy} does not have it either" in problem
    assert blob.read_bytes() == b"rot"
    content = entry.read_bytes()
    overwrite(entry, b"damaged")
    overwrite(copy / entry.relative_to(registry.folder), content.replace(b"row", b"raw"))
    said = saint("repair", registry.folder, "--from", copy)
    assert said.exit_code == 1
    assert "try another copy" in said.output
    assert entry.read_bytes() == b"damaged"


def test_a_damaged_last_entry_is_nothing_that_a_copy_can_prove(registry: Registry, copy: Path) -> None:
    last = sorted(registry.folder.glob("log/*/*"))[-1]
    overwrite(last, b"{")
    [problem] = repair(registry, FolderRemote(copy)).problems
    assert last.name in problem
    assert "the last one" in problem


def test_blobs_that_no_entry_names_are_put_away_and_logged(registry: Registry) -> None:
    old, young = registry.store.put(b"nobody's"), registry.store.put(b"about to be named")
    for blob in registry.folder.glob("blobs/*/*"):
        age(blob, 30)
    age(registry.store.blob_path(young), 1)
    (registry.folder / "tmp" / "left").write_bytes(b"by a process that died")
    age(registry.folder / "tmp" / "left", 30)
    said = saint("gc", registry.folder, "--dry-run", "--json")
    assert (json.loads(said.output)["blobs"], json.loads(said.output)["num_drafts"]) == ([old], 1)
    assert registry.store.blob_path(old).exists()
    assert "1 blobs, 8 bytes, were put into the trash folder" in saint("gc", registry.folder).output
    assert not registry.store.blob_path(old).exists()
    assert registry.store.blob_path(young).exists()
    assert [file.read_bytes() for file in registry.folder.glob("trash/*")] == [b"nobody's"]
    assert list(registry.folder.glob("tmp/*")) == []
    [event] = find(registry, event="blobs_collected")
    assert event.body == {"blobs": [old], "num_bytes": 8}
    assert verify(registry).problems == ()
    assert collect(registry, grace_seconds=14 * DAY).blobs == ()
    assert len(registry.ledger.events()) == 7


def test_a_blob_that_somebody_needs_again_is_not_put_away(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the worst moment: between the look at its age and the move."""
    digest = registry.store.put(b"nobody's so far")
    age(registry.store.blob_path(digest), 30)
    discard = Store.discard

    def meanwhile(self: Store, file: Path) -> Path:
        Registry.open(registry.folder).store.put(b"nobody's so far")
        return discard(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "discard", meanwhile)
        collect(registry, grace_seconds=14 * DAY)
    registry.write("noted", {"row": "names it"}, contents=[b"nobody's so far"])
    assert registry.payload(digest) == b"nobody's so far"


def test_a_collection_that_died_is_put_right_by_the_next(registry: Registry) -> None:
    [first, *_] = sorted(registry.folder.glob("blobs/*/*"))
    registry.store.discard(first)
    assert verify(registry).problems
    assert collect(registry, grace_seconds=0).restored == (first.name,)
    assert verify(registry).problems == ()


def test_the_doctor_tries_what_a_registry_needs(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.what: one.result for one in examine(registry)}
    assert list(found) == ["permissions", "hard links", "flushing", "free space", "clock", "network disk"]
    assert found["hard links"] == found["flushing"] == found["clock"] == "ok"
    assert list(registry.folder.glob("tmp/*")) == []

    def refuses(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    said = saint("doctor", registry.folder)
    assert said.exit_code == 1
    assert "this disk makes none (Operation not permitted)" in said.output


def test_what_the_doctor_cannot_try_is_not_said_to_be_well(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saint.registry._doctor._MOUNTS", registry.folder / "none")
    said = saint("doctor", registry.folder)
    assert said.exit_code == 3
    assert "this system does not say what kind of disk this is" in said.output
