"""A registry in one file: whatever else somebody puts into such a file is refused in one sentence."""

import bz2
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from made_up_registry import contents, registry_of
from saint.cli.main import main
from saint.errors import ConfigError, LedgerError, RemoteContentError, RemoteError
from saint.records import to_canonical
from saint.remotes import BundleRemote, bundle, pull

Member = tuple[tarfile.TarInfo, bytes]


def written(tmp_path: Path, num_entries: int = 3) -> Path:
    bundle(registry_of(tmp_path / "here", num_entries), tmp_path / "all.bundle")
    return tmp_path / "all.bundle"


def members(content: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = archive.getmembers()
        return [(one, archive.extractfile(one).read()) for one in found]  # type: ignore[union-attr]


def archive_of(found: list[Member], form: int = tarfile.USTAR_FORMAT) -> bytes:
    made = b""
    for member, content in found:
        if member.isreg():
            member.size = len(content)
        made += member.tobuf(form) + content + bytes(-len(content) % 512)
    return made + bytes(1024)


def with_index(content: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    first, *others = members(content)
    index = json.loads(first[1])
    changed = change(index) or index
    return archive_of([(first[0], to_canonical(changed).encode()), *others])


def with_index_bytes(content: bytes, index: bytes) -> bytes:
    first, *others = members(content)
    return archive_of([(first[0], index), *others])


def with_member(content: bytes, form: int = tarfile.USTAR_FORMAT, **changes: object) -> bytes:
    found = members(content)
    for name, value in changes.items():
        setattr(found[2][0], name, value)
    if changes.get("type", tarfile.REGTYPE) != tarfile.REGTYPE:
        found[2][0].size = 0
        found[2] = (found[2][0], b"")
    return archive_of(found, form)


def renamed(files: object, name: str) -> None:
    files["files"][1][0] = name  # type: ignore[index]


def redigested(files: object, digest: object) -> None:
    files["files"][1][1] = digest  # type: ignore[index]


def resized(files: object, size: object) -> None:
    files["files"][1][2] = size  # type: ignore[index]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def zipped(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("../../evil", content)
    return made.getvalue()


def extra(content: bytes) -> bytes:
    member = tarfile.TarInfo(hashlib.sha256(b"more").hexdigest())
    member.mode = 0o444
    return archive_of([*members(content), (member, b"more")])


def swapped(content: bytes) -> bytes:
    found = members(content)
    found[1], found[2] = found[2], found[1]
    return archive_of(found)


def other_content(content: bytes) -> bytes:
    found = members(content)
    found[2] = (found[2][0], bytes(len(found[2][1])))
    return archive_of(found)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "one byte": lambda _: b"\0",
    "text": lambda _: b"dear auditor, " * 100,
    "zeros": lambda content: bytes(len(content)),
    "gzip": gzip.compress,
    "a gzip bomb": lambda _: gzip.compress(bytes(50_000_000)),
    "bzip2": bz2.compress,
    "zip with a way up": zipped,
    "no index": lambda content: archive_of(members(content)[1:]),
    "index twice": lambda content: archive_of([members(content)[0], *members(content)]),
    "index cut off": lambda content: content[:700],
    "index that is no JSON": lambda content: with_index_bytes(content, b"files"),
    "index nested deeply": lambda content: with_index_bytes(content, b"[" * 100_000),
    "index with spaces": lambda content: with_index_bytes(content, members(content)[0][1] + b" "),
    "index with a key twice": lambda content: with_index_bytes(content, b'{"format":1,"files":[],"files":[]}'),
    "index with another key": lambda content: with_index(content, lambda index: index | {"run": "me"}),
    "index of another format": lambda content: with_index(content, lambda index: index | {"format": 2}),
    "index with no list": lambda content: with_index(content, lambda index: index | {"files": {}}),
    "index size of 8 GiB": lambda content: content[:124] + b"77777777777\0" + content[136:],
    "index size in base 256": lambda content: content[:124] + b"\x80" + bytes(10) + b"\x10" + content[136:],
    "index size negative": lambda content: content[:124] + b"-0000000001\0" + content[136:],
    "a path up": lambda content: with_index(content, lambda index: renamed(index, "../evil")),
    "a path up inside": lambda content: with_index(content, lambda index: renamed(index, "blobs/../../evil")),
    "a path from the root": lambda content: with_index(content, lambda index: renamed(index, "/etc/passwd")),
    "a name with a zero": lambda content: with_index(content, lambda index: renamed(index, "registry.json\0")),
    "code": lambda content: with_index(content, lambda index: renamed(index, "work/verify.py")),
    "a digest with a path": lambda content: with_index(content, lambda index: redigested(index, "../" + "0" * 61)),
    "a digest in capitals": lambda content: with_index(content, lambda index: redigested(index, "A" * 64)),
    "a digest that is a number": lambda content: with_index(content, lambda index: redigested(index, 7)),
    "a size of another": lambda content: with_index(content, lambda index: resized(index, 5)),
    "a size below zero": lambda content: with_index(content, lambda index: resized(index, -1)),
    "a size beyond all": lambda content: with_index(content, lambda index: resized(index, 2**50)),
    "a size that is true": lambda content: with_index(content, lambda index: resized(index, True)),  # noqa: FBT003
    "a size with a comma": lambda content: with_index(content, lambda index: resized(index, 1.5)),
    "listed twice": lambda content: with_index(content, lambda index: index["files"].append(index["files"][0])),  # type: ignore[attr-defined]
    "a row too short": lambda content: with_index(content, lambda index: index["files"].append([])),  # type: ignore[attr-defined]
    "a symbolic link": lambda content: with_member(content, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda content: with_member(content, type=tarfile.LNKTYPE, linkname="index.json"),
    "a folder": lambda content: with_member(content, type=tarfile.DIRTYPE),
    "a pipe": lambda content: with_member(content, type=tarfile.FIFOTYPE),
    "a device": lambda content: with_member(content, type=tarfile.CHRTYPE),
    "a sparse member": lambda content: with_member(content, type=tarfile.GNUTYPE_SPARSE),
    "a long name, GNU": lambda content: with_member(content, tarfile.GNU_FORMAT, name="a" * 300),
    "a long name, pax": lambda content: with_member(content, tarfile.PAX_FORMAT, name="a" * 300),
    "pax headers": lambda content: with_member(content, tarfile.PAX_FORMAT, pax_headers={"path": "/etc/passwd"}),
    "a member with a way up": lambda content: with_member(content, name="../../evil"),
    "a member that runs": lambda content: with_member(content, mode=0o4755),
    "a member of root's": lambda content: with_member(content, uname="root"),
    "a wrong checksum": lambda content: flipped(content, 150),
    "members in another order": swapped,
    "a member too many": extra,
    "a member too few": lambda content: archive_of(members(content)[:-1]),
    "something after the end": lambda content: content + b"more",
    "zeros after the end": lambda content: content + bytes(512),
    "no end": lambda content: content[:-1024],
    "half an end": lambda content: content[:-512],
    "other bytes of that size": other_content,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_a_bundle_is_refused_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    file = written(tmp_path)
    hostile = HOSTILE[name](file.read_bytes())
    assert hostile != file.read_bytes()
    file.write_bytes(hostile)
    result = CliRunner().invoke(main, ["unbundle", str(file), str(tmp_path / "copy")])
    assert result.exit_code == 1, (result.output, result.exception)
    [said] = result.stderr.strip().splitlines()
    assert said.startswith("saint: ")
    assert not (tmp_path / "copy").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"here", "all.bundle", ".copy.pulling"}


def test_a_bundle_is_the_registry_and_equal_registries_give_equal_bundles(tmp_path: Path) -> None:
    file = written(tmp_path)
    copy, pulled = pull(BundleRemote(file), tmp_path / "copy")
    assert pulled.num_entries == 3
    assert contents(copy.folder) == contents(tmp_path / "here")
    bundle(copy, tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == file.read_bytes()


def test_a_bundle_can_be_read_with_tar_and_a_hash(tmp_path: Path) -> None:
    first, *others = members(written(tmp_path).read_bytes())
    assert first[0].name == "index.json"
    assert all(hashlib.sha256(content).hexdigest() == member.name for member, content in others)
    assert {digest for _, digest, _ in json.loads(first[1])["files"]} == {member.name for member, _ in others}


def test_every_bit_and_every_cut_of_a_small_bundle_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, 1)
    whole = file.read_bytes()
    for at in range(0, len(whole), 37):
        file.write_bytes(flipped(whole, at))
        with pytest.raises(RemoteContentError):
            pull(BundleRemote(file), tmp_path / "copy")
    for end in range(0, len(whole), 512):
        file.write_bytes(whole[:end])
        with pytest.raises(RemoteContentError):
            BundleRemote(file)


def test_a_bundle_brings_a_registry_up_to_date(tmp_path: Path) -> None:
    copy, _ = pull(BundleRemote(written(tmp_path)), tmp_path / "copy")
    registry = registry_of(tmp_path / "here", 2, word="more")
    bundle(registry, tmp_path / "later.bundle")
    assert pull(BundleRemote(tmp_path / "later.bundle"), copy.folder)[1].num_entries == 2
    assert contents(copy.folder) == contents(registry.folder)


def test_nothing_is_written_over_and_a_rotten_registry_is_not_bundled(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    (tmp_path / "there").write_text("a letter")
    with pytest.raises(ConfigError, match="exists already"):
        bundle(registry, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "a letter"
    blob = next((tmp_path / "here").glob("blobs/*/*"))
    blob.chmod(0o644)
    blob.write_bytes(b"rot")
    with pytest.raises(LedgerError, match="was changed"):
        bundle(registry, tmp_path / "new")
    blob.unlink()
    with pytest.raises(LedgerError, match="is missing"):
        bundle(registry, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RemoteError, match=r"is not a file|cannot be read"):
            BundleRemote(place)
