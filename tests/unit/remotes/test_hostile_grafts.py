"""A file that is no graft is refused under its right digest, whichever entry brings it and whichever calls it one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostile_files import CRAFTED, FURTHER, VALID
from made_up_registry import contents, registry_of
from saint.errors import GraftFileError, RemoteContentError
from saint.registry import Registry
from saint.remotes import FolderRemote, pull, push
from saint.remotes._graft_files import must_be_weights
from saint.testing import an_evidence
from saint.weights import AS_STORED, check_weights
from signed_garden import judge


@dataclass(frozen=True)
class Cutting:
    content: bytes

    def to_bytes(self) -> bytes:
        return self.content

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def hostile() -> dict[str, bytes]:
    """Those of the crafted files that no graft may be here, which is nearly all."""
    found = {}
    for name, (made, _) in {**CRAFTED, **FURTHER}.items():
        content = made() if callable(made) else made
        try:
            check_weights(content, caps=AS_STORED)
        except GraftFileError:
            found[name] = content
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return registry_of(tmp_path / "here", 2)


@pytest.fixture
def copy(registry: Registry, tmp_path: Path) -> Registry:
    return pull(FolderRemote(registry.folder), tmp_path / "copy")[0]


def judged(registry: Registry, content: bytes) -> None:
    judge(registry, Cutting(content))  # type: ignore[arg-type]


def trained(registry: Registry, content: bytes) -> None:
    registry.write("trained", {"trial": "t", "graft": Cutting(content).digest}, contents=[content])


def submitted(registry: Registry, content: bytes) -> None:
    registry.write("submitted", {"graft": Cutting(content).digest}, contents=[content])


def control_trained(registry: Registry, content: bytes) -> None:
    registry.write("control_trained", {"graft": Cutting(content).digest}, contents=[content])


def judged_by_the_evidence_of_another(registry: Registry, content: bytes) -> None:
    """The entry's own graft is sound, the one that comes to stand by it is not."""
    judged(registry, VALID)
    last = registry.ledger.events()[-1]
    evidence = an_evidence(graft=Cutting(content).digest, stack=(Cutting(VALID).digest,))
    decision = {**last.body["decision"], "query": None}
    body = {**last.body, "graft": Cutting(VALID).digest, "evidence": evidence, "decision": decision}
    registry.write("judged", body, contents=[VALID, content])


def brought_by_another_entry(registry: Registry, content: bytes) -> None:
    registry.write("noted", {}, contents=[content])
    registry.write("submitted", {"graft": Cutting(content).digest})


WAYS = (
    judged,
    trained,
    submitted,
    control_trained,
    judged_by_the_evidence_of_another,
    brought_by_another_entry,
)
PICKLE = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os"


@pytest.mark.parametrize("way", WAYS)
def test_a_graft_that_is_none_is_refused_before_its_entry_is_there(
    tmp_path: Path, registry: Registry, copy: Registry, way: Callable[[Registry, bytes], None]
) -> None:
    before = contents(copy.folder)
    way(registry, PICKLE)
    told = f"graft {Cutting(PICKLE).digest[:12]} is no file of weights .* a pickle, which could run code"
    for folder in ("copy", "new"):
        with pytest.raises(RemoteContentError, match=told):
            pull(FolderRemote(registry.folder), tmp_path / folder)
    assert not copy.store.blob_path(Cutting(PICKLE).digest).exists()
    added = {name for name in contents(copy.folder).keys() - before.keys() if not name.startswith("blobs/")}
    assert added == set()
    assert not (tmp_path / "new").exists()


def test_one_that_came_as_something_else_is_refused_when_it_is_called_a_graft(
    registry: Registry, copy: Registry
) -> None:
    registry.write("noted", {}, contents=[PICKLE])
    pull(FolderRemote(registry.folder), copy.folder)
    before = contents(copy.folder)
    registry.write("submitted", {"graft": Cutting(PICKLE).digest})
    with pytest.raises(RemoteContentError, match="is no file of weights"):
        pull(FolderRemote(registry.folder), copy.folder)
    assert contents(copy.folder) == before


def test_each_of_the_crafted_files_is_refused(tmp_path: Path) -> None:
    files = hostile()
    assert len(files) >= 60
    for content in files.values():
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(RemoteContentError, match="graft 0123456789ab is no file of weights"):
            must_be_weights(tmp_path / "file", "0123456789abcdef")


def test_sound_grafts_come_whatever_became_of_them(tmp_path: Path, registry: Registry, copy: Registry) -> None:
    for way in WAYS[:4]:
        way(registry, VALID)
    registry.write("trained", {"trial": "u", "graft": ""})
    push(registry, FolderRemote(tmp_path / "there"))
    assert pull(FolderRemote(tmp_path / "there"), copy.folder)[1].num_entries == 6
    assert contents(copy.folder) == contents(registry.folder)
