"""Files for workers on other machines, without any cluster."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from saint.errors import BaseChangedError, StorageError
from saint.search import Parcel

Fetch = Callable[[str, int], bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(os.urandom(9 << 20))  # more than a piece
    (folder / "inner" / "config").write_text("{}")
    (folder / "sealed").write_text("not for workers")
    return folder


@pytest.fixture
def parcel(folder: Path) -> Parcel:
    return Parcel.of(folder, ["weights", "inner/config"])


@pytest.fixture
def elsewhere(parcel: Parcel, tmp_path: Path) -> tuple[Parcel, Fetch, Path]:
    """The parcel for a machine that does not see its folder, how its files come there, and where they go."""
    root = tmp_path / "node"
    root.mkdir()
    return Parcel(str(tmp_path / "nowhere"), parcel.files), parcel.read, root


def never(_name: str, _offset: int) -> bytes:
    raise AssertionError("nothing had to be brought")


def test_files_that_are_seen_at_the_same_place_are_used_there(folder: Path, parcel: Parcel, tmp_path: Path) -> None:
    assert parcel.settle(never, tmp_path / "node") == folder
    assert parcel.lacking_bytes(tmp_path) == 0


def test_what_is_not_seen_is_brought_once(elsewhere: tuple[Parcel, Fetch, Path], folder: Path) -> None:
    parcel, fetch, root = elsewhere
    assert parcel.lacking_bytes(root) == parcel.num_bytes == (9 << 20) + 2
    settled = parcel.settle(fetch, root)
    assert settled == root / parcel.digest
    assert sorted(path.name for path in settled.rglob("*") if path.is_file()) == ["config", "weights"]
    assert (settled / "weights").read_bytes() == (folder / "weights").read_bytes()
    assert parcel.settle(never, root) == settled
    assert parcel.lacking_bytes(root) == 0


def test_other_files_of_the_folder_are_not_read(parcel: Parcel) -> None:
    for name in ("sealed", "../base/weights", "/etc/passwd"):
        with pytest.raises(StorageError, match="none of the files"):
            parcel.read(name, 0)


def test_files_that_were_changed_are_brought_anew(elsewhere: tuple[Parcel, Fetch, Path], folder: Path) -> None:
    parcel, fetch, root = elsewhere
    file = parcel.settle(fetch, root) / "weights"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    assert (parcel.settle(fetch, root) / "weights").read_bytes() == (folder / "weights").read_bytes()
    changed = Parcel(str(folder), parcel.files)
    (folder / "weights").write_bytes(content)
    assert changed.settle(never, root) == root / parcel.digest


def test_what_was_changed_on_the_way_is_refused(elsewhere: tuple[Parcel, Fetch, Path]) -> None:
    parcel, fetch, root = elsewhere
    for lie in (lambda piece: piece[:-1] + b"!", lambda piece: piece[:-1], lambda piece: piece + b"more"):
        with pytest.raises(BaseChangedError, match="with SHA-256"):
            parcel.settle(lambda name, offset, lie=lie: lie(fetch(name, offset)), root)
    assert [path.name for path in root.iterdir() if path.is_dir()] == []
    with pytest.raises(StorageError, match="leave it alone"):
        parcel.settle(None, root)


def test_a_disk_that_is_too_small_is_told_of(
    elsewhere: tuple[Parcel, Fetch, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel, _, root = elsewhere
    usage = shutil.disk_usage(root)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"expected room for 9\.4 MB in .*, and 10\.0 MB are free; make room"):
        parcel.settle(never, root)
