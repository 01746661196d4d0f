"""`saint gc` in a folder that somebody else has filled, and beside others that do the same."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from made_up_registry import registry_of
from saint.cli.main import main
from saint.registry import Registry, collect, verify
from saint.registry._store import Store


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of(tmp_path / "garden")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody's, with an old file in it that is called as a blob might be."""
    file = tmp_path / "theirs" / ("ab" + "c" * 62)
    file.parent.mkdir()
    file.write_text("precious")
    os.utime(file, (1, 1))
    return file


def gc(registry: Registry) -> Result:
    return CliRunner().invoke(main, ["gc", str(registry.folder)])


@pytest.mark.parametrize("where", ["tmp", "blobs/ab", "trash"])
def test_nothing_outside_of_the_registry_is_put_away(registry: Registry, theirs: Path, where: str) -> None:
    place = registry.folder / where
    if place.is_dir():
        place.rmdir()
    place.symlink_to(theirs.parent)
    said = gc(registry)
    assert said.exit_code == 1
    assert f"{place} is a link" in said.output
    assert theirs.read_text() == "precious"


def test_what_has_no_blob_s_name_stays_where_it_is(registry: Registry) -> None:
    folder = next(registry.folder.glob("blobs/*"))
    names = ["\udcff\x1b[31m", ".DS_Store", "g" * 64, ("0" if folder.name[0] != "0" else "1") * 64]  # last: elsewhere
    for name in names:
        (folder / name).touch()
        os.utime(folder / name, (1, 1))
    assert collect(registry, grace_seconds=0).blobs == ()
    assert set(names) <= {place.name for place in folder.iterdir()}


def test_what_is_not_the_blob_does_not_come_back_from_the_trash(registry: Registry) -> None:
    [first, second, *_] = sorted(registry.folder.glob("blobs/*/*"))
    for blob in (first, second):
        blob.unlink()
    (registry.folder / "trash").mkdir()
    (registry.folder / "trash" / f"{first.name}.aa").write_bytes(b"what they would like")
    (registry.folder / "trash" / f"{second.name}.aa").symlink_to("/nowhere")
    assert collect(registry, grace_seconds=0).restored == ()
    assert not first.exists()
    assert len(verify(Registry.open(registry.folder)).problems) == 2


def test_two_collections_at_once_are_one(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = registry.store.put(b"nobody's")
    os.utime(registry.store.blob_path(digest), (1, 1))
    discard = Store.discard

    def meanwhile(self: Store, file: Path) -> Path | None:
        monkeypatch.setattr(Store, "discard", discard)
        assert collect(Registry.open(registry.folder), grace_seconds=9).blobs == (digest,)
        return discard(self, file)

    monkeypatch.setattr(Store, "discard", meanwhile)
    assert collect(registry, grace_seconds=9).blobs == (digest,)
    assert [file.name.partition(".")[0] for file in registry.folder.glob("trash/*")] == [digest]
    assert verify(Registry.open(registry.folder)).problems == ()
