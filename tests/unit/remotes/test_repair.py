"""What is missing or rotten comes from any remote, is believed by its digest alone, and is said to be missing else."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from made_up_oci import OciServer, serving
from made_up_registry import contents, registry_of
from saint.cli.main import main
from saint.registry import Registry
from saint.remotes import FolderRemote, bundle, open_remote, push


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = registry_of(tmp_path / "here")
    registry.write("noted", {}, contents=[b""])
    return registry


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OciServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as one:
        yield one


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def in_a_folder(registry: Registry, place: Path, _: OciServer) -> str:
    push(registry, FolderRemote(place))
    return str(place)


def in_a_bundle(registry: Registry, place: Path, _: OciServer) -> str:
    bundle(registry, place)
    return str(place)


def in_a_registry_of_containers(registry: Registry, _: Path, server: OciServer) -> str:
    address = f"oci://{server.host}/garden/roses:v1"
    push(registry, open_remote(address))
    return address


def repaired(registry: Registry, address: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["repair", str(registry.folder), "--from", address, *more])


PLACES = (in_a_folder, in_a_bundle, in_a_registry_of_containers)


@pytest.mark.parametrize("keep", PLACES)
def test_all_that_is_damaged_comes_back(
    tmp_path: Path, registry: Registry, server: OciServer, keep: Callable[[Registry, Path, OciServer], str]
) -> None:
    address, before = keep(registry, tmp_path / "there", server), contents(registry.folder)
    entries, blobs = sorted(registry.folder.glob("log/*/*")), sorted(registry.folder.glob("blobs/*/*"))
    overwrite(entries[0], b"{}")
    entries[3].unlink()
    overwrite(blobs[1], b"rot")
    (registry.folder / "blobs" / "e3" / hashlib.sha256(b"").hexdigest()).unlink()
    said = repaired(registry, address, "--json")
    assert said.exit_code == 0, said.output
    assert (json.loads(said.output)["entries"], len(json.loads(said.output)["blobs"])) == ([0, 3], 2)
    assert contents(registry.folder) == before


def test_what_has_another_digest_is_not_taken(tmp_path: Path, registry: Registry) -> None:
    push(registry, FolderRemote(tmp_path / "there"))
    [first, second, *_] = sorted(registry.folder.glob("blobs/*/*"))
    first.unlink()
    overwrite(second, b"rot")
    overwrite(tmp_path / "there" / first.relative_to(registry.folder), b"what they would like")
    (tmp_path / "there" / second.relative_to(registry.folder)).unlink()
    said = repaired(registry, str(tmp_path / "there"))
    assert said.exit_code == 1
    assert said.output.count("does not have it either") == 2
    assert (first.exists(), second.read_bytes()) == (False, b"rot")


def test_a_copy_that_is_none_or_cannot_be_reached_is_not_one_that_has_nothing(
    tmp_path: Path, registry: Registry, server: OciServer
) -> None:
    address = in_a_registry_of_containers(registry, tmp_path, server)
    next(registry.folder.glob("blobs/*/*")).unlink()
    absent = repaired(registry, str(tmp_path / "nowhere"))
    assert (absent.exit_code, "has no registry.json" in absent.stderr) == (1, True)
    server.misbehave = lambda handler: bool(handler.answer(503)) or True
    unreachable = repaired(registry, address)
    assert (unreachable.exit_code, len(unreachable.stderr.strip().splitlines())) == (3, 1)
    shutil.rmtree(registry.folder / "tmp")
    assert repaired(registry, "ftp://example.org/x").exit_code == 2
