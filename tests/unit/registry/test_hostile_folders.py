"""A folder that somebody else has filled: nothing in it is waited for, or taken for what it is not."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from made_up_registry import registry_of
from saint import records
from saint.cli.main import main
from saint.errors import ConfigError, LedgerError, NotARegistryError, StorageError
from saint.registry import Registry, find, repair, verify
from saint.remotes import FolderRemote


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Whoever waits for a pipe that nobody writes to is woken up."""

    def wake(*_: object) -> None:
        raise AssertionError("it waited")  # no OSError: those are expected

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of(tmp_path / "garden")


def saint(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def instead(place: Path, put: Callable[[Path], object]) -> None:
    place.unlink(missing_ok=True)
    put(place)


ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda place: place.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", ["blobs/*/*", "log/*/*", "checkpoints/*", "registry.json"])
def test_what_is_no_ordinary_file_is_a_problem_and_not_waited_for(registry: Registry, where: str, odd: str) -> None:
    (registry.folder / "checkpoints").mkdir(exist_ok=True)
    (registry.folder / "checkpoints" / "000000001.note").touch()
    instead(sorted(registry.folder.glob(where))[-1], ODD[odd])
    said = saint("verify", registry.folder)
    assert said.exit_code == (2 if where == "registry.json" else 1)
    assert "it is no ordinary file" in said.output


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", ["origin", "FORMAT.md", "verify.py"])
def test_a_page_that_is_no_ordinary_file_is_a_problem_and_not_waited_for(
    registry: Registry, where: str, odd: str
) -> None:
    instead(registry.folder / where, ODD[odd])
    said = saint("verify", registry.folder)
    assert said.exit_code == 1, said.output
    assert isinstance(said.exception, SystemExit)
    Registry.open(registry.folder)


def test_a_copy_full_of_pipes_is_not_waited_for(registry: Registry, tmp_path: Path) -> None:
    shutil.copytree(registry.folder, tmp_path / "copy")
    for folder in (registry.folder, tmp_path / "copy"):
        [blob, *_] = sorted(folder.glob("blobs/*/*"))
        instead(blob, Path.touch if folder == registry.folder else os.mkfifo)
    [problem] = repair(registry, FolderRemote(tmp_path / "copy")).problems
    assert "does not have it either" in problem


def test_a_link_that_leads_nowhere_is_no_blob(registry: Registry) -> None:
    place = registry.store.blob_path(hashlib.sha256(b"new").hexdigest())
    place.parent.mkdir(exist_ok=True)
    place.symlink_to("/nowhere/at/all")
    registry.write("noted", {}, contents=[b"new"])
    assert not place.is_symlink()
    assert verify(Registry.open(registry.folder)).problems == ()


def test_no_entry_names_what_is_not_there(registry: Registry) -> None:
    with pytest.raises(LedgerError, match="is missing"):
        registry.append("noted", lambda _: {}, blobs=["a" * 64])
    assert len(registry.ledger.events()) == 5


@pytest.mark.parametrize("name", ["work", "work/data", "tmp", "trash", "log", "blobs", "checkpoints"])
def test_a_folder_that_is_a_link_is_not_followed(registry: Registry, tmp_path: Path, name: str) -> None:
    theirs, place = tmp_path / "theirs" / "data", registry.folder / name
    theirs.mkdir(parents=True)
    (theirs / "precious").touch()
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.rename(tmp_path / "away")
    place.symlink_to(theirs.parent)
    for command in (["status"], ["gc"], ["verify"]):
        said = saint(*command, registry.folder)
        assert said.exit_code == 1, said.output
        assert f"{place} is a link" in said.output
    assert (theirs / "precious").exists()


def test_a_link_is_not_begun_a_registry_behind(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "work").symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="is a link"):
        Registry.open(tmp_path / "garden")


def test_a_lock_that_is_a_link_empties_nothing(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("theirs")
    registry.work.mkdir(exist_ok=True)
    (registry.work / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match="cannot be opened as a file"), registry.alone():
        pass
    assert (tmp_path / "precious").read_text() == "theirs"


@pytest.mark.parametrize(
    "marker", ['{"format":1e999}', '{"format":true}', '{"format":"1"}', '{"format":0}', "[" * 50_000, " " * 100_000]
)
def test_a_marker_that_is_none_is_refused(registry: Registry, marker: str) -> None:
    instead(registry.folder / "registry.json", lambda place: place.write_text(marker))
    with pytest.raises(NotARegistryError, match=r"is not what a registry has there|which is none"):
        Registry.open(registry.folder)


def rewritten(registry: Registry, **changes: Any) -> Registry:
    """With another second entry, at the end of the chain."""
    for place in sorted(registry.folder.glob("log/*/*"))[2:]:
        place.unlink()
    [_, place] = sorted(registry.folder.glob("log/*/*"))
    entry = {**json.loads(place.read_bytes()), **changes}
    instead(place, lambda place: place.write_text(records.to_canonical(entry)))
    return Registry.open(registry.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": True},
        {"format": 0},
        {"format": True},
        {"format": "2"},
        {"more": "unsaid"},
        {"time": "yesterday"},
        {"time": "2026-01-01T00:00:00"},
        {"time": "2026-13-01T00:00:00+00:00"},
        {"time": "2026-01-01T00:00:00+00:00`<b>"},
    ],
)
def test_an_entry_that_nobody_here_would_write_is_refused(registry: Registry, changes: dict[str, Any]) -> None:
    assert len(rewritten(registry).ledger.events()) == 2
    with pytest.raises(LedgerError, match=r"what every entry has|the chain breaks"):
        rewritten(registry, **changes).ledger.events()


def test_bytes_that_are_no_text_are_a_wrong_usage(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"udcff of mine.* has bytes that are no UTF-8"):
        registry.write("noted", {"reason": "\udcff of mine"})
    assert len(registry.ledger.events()) == 5


def test_a_stray_number_does_not_stop_a_repair(registry: Registry, tmp_path: Path) -> None:
    shutil.copytree(registry.folder, tmp_path / "copy")
    (registry.folder / "log" / "000000" / "\u00b2.json").touch()
    assert repair(registry, FolderRemote(tmp_path / "copy")).entries == ()


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, '', 'noted', '' FROM c"


@pytest.mark.parametrize("sql", ["", f"CREATE VIEW entries(number, digest, event, time) AS {ENDLESS};"])
def test_an_index_that_was_made_otherwise_is_made_anew(registry: Registry, sql: str) -> None:
    made = sqlite3.connect(":memory:")
    made.executescript(f"{sql} PRAGMA user_version = 1;")
    content = made.serialize()
    (registry.folder / "index.sqlite").write_bytes(content)
    written = registry.seal.memory.index_path(registry.folder)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(f"{len(content)} {hashlib.sha256(content).hexdigest()}\n")
    assert len(find(registry, event="noted")) == 5


def test_no_number_is_too_long_to_be_refused(registry: Registry) -> None:
    assert saint("verify", registry.folder, "--expect", f"{'9' * 5000}:root").exit_code == 2
