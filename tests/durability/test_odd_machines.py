"""A clock that goes back, a folder that may only be read, and a registry from before."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from saint.cli.main import main
from saint.errors import LedgerError, StorageError
from saint.registry import Ledger, Registry, verify

_NOBODY = 65534
_OLDER = Path(__file__).parents[1] / "data" / "registry-of-format-1"


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    for year in (2026, 1999, 2031):
        with mock.patch("saint.registry._ledger.datetime") as clock:
            clock.now.return_value = datetime(year, 1, 1, tzinfo=UTC)
            registry.write("noted", {"year": year})
    there = Registry.open(tmp_path)
    assert [(event.number, event.body["year"]) for event in there.ledger] == [(0, 2026), (1, 1999), (2, 2031)]
    assert [event.time[:4] for event in there.ledger] == ["2026", "1999", "2031"]
    assert verify(there).problems == ()


@contextmanager
def as_somebody_without_rights() -> Iterator[None]:
    """Root may write everywhere, so be somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_only_be_read_is_read_and_refuses_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry.open(tmp_path / "registry").write("noted", {"row": 0}, contents=[b"kept"])
    folders = [tmp_path, *(place for place in tmp_path.rglob("*") if place.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    monkeypatch.chdir(tmp_path)  # what is above it is not for everybody's eyes
    monkeypatch.setenv("SAINT_HOME", "home")  # nor is the home of whoever runs the tests
    try:
        with as_somebody_without_rights():
            registry = Registry.open("registry")
            assert registry.state.others[0].body == {"row": 0}
            assert verify(registry).problems == ()
            with pytest.raises(StorageError, match=r"was not written \(Permission denied\); make it writable"):
                registry.write("noted", {"row": 1}, contents=[b"more"])
    finally:
        for folder in folders:
            folder.chmod(0o755)
    Registry.open("registry").write("noted", {"row": 1})
    assert verify(Registry.open("registry")).num_entries == 2


def test_no_two_names_differ_by_their_case_alone(tmp_path: Path) -> None:
    """So that a disk that does not tell them apart, or writes accents another way, keeps all of them."""
    registry = Registry.open(tmp_path)
    for row in range(40):
        registry.write("noted", {"row": row}, contents=[f"content {row}".encode()])
    with registry.alone():
        registry.write("noted", {"row": "last"})
    names = [place.relative_to(tmp_path).as_posix() for place in tmp_path.rglob("*")]
    assert all(name.isascii() for name in names)
    assert len({name.casefold() for name in names}) == len(names) > 80


def test_a_digest_in_capitals_is_no_name_of_a_blob_though_the_disk_finds_it(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    digest = registry.store.put(b"content")
    shouted = digest.upper()
    assert shouted != digest
    there = registry.store.blob_path(shouted)
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(b"content")  # as a disk has it that takes both for one name
    with pytest.raises(LedgerError):
        registry.store.get(shouted)
    with pytest.raises(LedgerError, match="does not have what every entry has"):
        Ledger(registry.store).append("noted", lambda _: {}, blobs=[shouted])
    with pytest.raises(LedgerError, match="does not have what every entry has"):
        Registry.open(tmp_path).ledger.events()


def test_a_registry_of_the_first_format_is_read_and_written_on(tmp_path: Path) -> None:
    """Written by version 0.1.0 as it was when there were no checkpoints; it must be readable for ever."""
    shutil.copytree(_OLDER, tmp_path / "older")
    registry = Registry.open(tmp_path / "older", must_exist=True)
    found = verify(registry)
    assert (found.num_entries, found.num_blobs, found.problems) == (12, 6, ())
    assert found.head == "f43ea4dfe2b87a2d7875096c1961c74978a65080ffc7e1b2ad8666dafbeb7b89"
    state = registry.state
    assert [len(part) for part in (state.judged, state.standing, state.queries, state.others)] == [3, 0, 1, 0]
    registry.write("noted", {"row": "of today"})
    assert verify(Registry.open(tmp_path / "older")).num_entries == 13


def imported(old: Path, new: Path) -> Result:
    return CliRunner().invoke(main, ["import", str(old), str(new)])


def files(folder: Path, what: str) -> dict[str, bytes]:
    return {str(place.relative_to(folder)): place.read_bytes() for place in folder.glob(what)}


def test_an_older_form_is_imported_and_the_old_one_left_alone(tmp_path: Path) -> None:
    older = shutil.copytree(_OLDER, tmp_path / "older")
    before = files(older, "**/*.*")
    done = imported(older, tmp_path / "new")
    assert done.exit_code == 3, done.output  # nobody here can know whether its end was cut off before
    assert "12 entries, 6 blobs (37 bytes)" in done.output
    assert "not checked: whether entries are missing at the end" in done.output
    assert files(tmp_path / "new", "log/*/*") == files(older, "log/*/*")
    assert files(tmp_path / "new", "blobs/*/*") == files(older, "blobs/*/*")
    first = next(iter(Registry.open(older).ledger))
    assert (tmp_path / "new" / "origin").read_text() == f"saint-g-{first.digest[:32]}\n"
    assert {"FORMAT.md", "verify.py"} <= {place.name for place in (tmp_path / "new").iterdir()}
    assert files(older, "**/*.*") == before
    found = verify(Registry.open(tmp_path / "new", must_exist=True))
    assert (found.num_entries, found.problems, found.unchecked) == (12, (), ())
    assert imported(older, tmp_path / "again").exit_code == 0  # now this machine knows it


def test_what_cannot_be_imported_is_refused_in_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    newer, rotten = (shutil.copytree(_OLDER, tmp_path / name) for name in ("newer", "rotten"))
    (newer / "registry.json").chmod(0o644)
    (newer / "registry.json").write_text('{"format":2,"hash":"sha256"}')
    blob = next(rotten.glob("blobs/*/*"))
    blob.chmod(0o644)
    blob.write_bytes(b"rot")
    (tmp_path / "empty").mkdir()
    for old, said in (
        (newer, "update saint-g"),
        (rotten, "came as blob .* use another copy"),
        (tmp_path / "empty", "there is no registry"),
    ):
        done = imported(old, tmp_path / "new")
        assert done.exit_code in (1, 2, 3), done.output
        assert re.search(said, done.output), done.output
        assert "Traceback" not in done.output
        assert not (tmp_path / "new").exists()
    done = imported(_OLDER, tmp_path)
    assert done.exit_code == 2
    assert "is there already; name a new folder" in done.output
