"""What comes into a library: only what stands, with what the ledger says of it, and never over anything."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up_library import BASE, Seedling, garden, grown, put
from made_up_oci import OciServer, serving
from saint import records
from saint.errors import ConfigError, GraftFileError, KeyFileError, LibraryError, NewerFormatError, RemoteError
from saint.library import CERTIFICATE, fetch, find, publish, read_library
from saint.records import Decision, Outcome, Verdict, composition_digest
from saint.registry import MerkleTree, Registry
from saint.remotes import FolderRemote, OciRemote
from saint.signing import read_envelope
from saint.testing import an_evidence
from signed_garden import Machines, judge, with_roles


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return garden(tmp_path / "garden")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "library"


def test_a_certificate_says_what_the_ledger_says(registry: Registry, place: Path) -> None:
    rose = grown(registry, "rose")
    lily = grown(registry, "lily")
    put(registry, rose, place, competence="prose")
    done = put(registry, lily, place)
    listed = find(FolderRemote(place), lily.digest[:9])
    said, entry = listed.certificate, registry.entry(lily.digest)
    assert (listed.digest, said) == (done.digest, done.certificate)
    assert said.graft == lily.digest
    assert (said.evidence, said.decision) == (entry.evidence, entry.decision)
    assert said.evidence.stack == (rose.digest,)
    assert said.composition == composition_digest(BASE, [rose.digest])
    assert said.policy == "e" * 64
    assert (said.file.num_bytes, said.file.dtypes) == (len(lily.to_bytes()), ("F32",))
    assert said.base.name == "not recorded", "a path says nothing to others"
    assert said.trained == "here"
    assert {name: one.licence for name, one in said.data.items()} == {"prose/train": "PSF-2.0"}
    assert (said.software.version, said.software.as_of) == ("0.1.0", "the start of the registry")
    assert said.source.origin == registry.origin
    events, tree = registry.ledger.events(), MerkleTree()
    for event in events:
        tree.append(bytes.fromhex(event.leaf))
    assert (said.source.num_entries, said.source.root) == (len(events), tree.root().hex())
    assert events[said.source.entry].digest == said.source.entry_digest
    assert [signer.key_id for signer in listed.signers] == list(said.keys)
    assert all(signer.known_as for signer in listed.signers)
    assert fetch(FolderRemote(place), listed) == lily.to_bytes()
    catalogue = read_library(FolderRemote(place), competence="prose")
    assert [one.certificate.graft for one in catalogue.listed] == [rose.digest]
    assert catalogue.problems == ()


def test_a_certificate_is_an_in_toto_statement_about_the_graft(registry: Registry, place: Path) -> None:
    rose = grown(registry, "rose")
    put(registry, rose, place)
    [file] = (place / "certificates").iterdir()
    envelope = read_envelope(file.read_bytes())
    statement = json.loads(envelope.payload)
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert (statement["_type"], statement["predicateType"]) == ("https://in-toto.io/Statement/v1", CERTIFICATE)
    assert statement["subject"] == [{"name": f"graft-{rose.digest[:12]}", "digest": {"sha256": rose.digest}}]
    assert statement["predicate"]["evidence"] == records.to_plain(registry.entry(rose.digest).evidence)


def test_what_was_trained_elsewhere_has_no_text_that_is_known(registry: Registry, place: Path) -> None:
    rose = Seedling("rose")
    registry.write("submitted", {"graft": rose.digest, "name": "", "reason": "", "folder": "", "files": {}})
    judge(registry, rose, base=BASE)
    said = put(registry, rose, place).certificate
    assert (said.trained, said.data) == ("elsewhere, handed in", {})


def test_publishing_twice_is_publishing_once(registry: Registry, place: Path) -> None:
    rose = grown(registry, "rose")
    assert put(registry, rose, place).is_new
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert not put(registry, rose, place).is_new
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before
    assert put(registry, rose, place, competence="prose").is_new, "the earlier one stays"
    assert len(list((place / "certificates").iterdir())) == 2


def reject(registry: Registry) -> str:
    rose = Seedling("rose")
    verdict = Verdict(gate="gain", outcome=Outcome.REJECT, reason="gain -0.2")
    registry.record(rose, an_evidence(graft=rose.digest, base=BASE), Decision(verdicts=(verdict,)))
    return rose.digest


def wait(registry: Registry) -> str:
    judge(registry, Seedling("rose"), base=BASE, approvals=1)
    return Seedling("rose").digest


def roll_back(registry: Registry) -> str:
    rose = grown(registry, "rose")
    registry.rollback(rose.digest, reason="it swears")
    return rose.digest


def undermine(registry: Registry) -> str:
    rose, lily = grown(registry, "rose"), grown(registry, "lily")
    registry.rollback(rose.digest, reason="it swears")
    return lily.digest


def quarantine(registry: Registry) -> str:
    rose = grown(registry, "rose")
    registry.write("quarantined", {"graft": rose.digest, "reason": "poisoned"})
    return rose.digest


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (reject, "is rejected, and only grafts that stand are published; gain: gain -0.2"),
        (wait, "waits for approval; publish it when it stands"),
        (roll_back, "is rolled back (it swears), and only grafts that stand are published"),
        (undermine, "is unvalidated"),
        (quarantine, "is in quarantine (poisoned)"),
    ],
)
def test_what_does_not_stand_as_it_was_judged_stays_at_home(
    registry: Registry, place: Path, make: Callable[[Registry], str], words: str
) -> None:
    digest = make(registry)
    with pytest.raises(LibraryError) as refused:
        publish(registry, digest, FolderRemote(place), competences=["code"], licence="MIT")
    assert words in str(refused.value)
    assert not place.exists()


def test_what_was_approved_is_published_with_how_many_approved(registry: Registry, place: Path) -> None:
    judge(registry, Seedling("rose"), base=BASE, approvals=1)
    registry.approve(Seedling("rose").digest, by="ada", reason="fine")
    said = put(registry, Seedling("rose"), place).certificate
    assert said.num_approvals == 1
    assert '"ada"' not in said.to_payload().decode(), "who it was stays in the registry"


@pytest.mark.parametrize(
    ("competences", "licence", "words"),
    [
        ([], "MIT", "names at least one competence"),
        (["Code"], "MIT", "names no competence"),
        (["../code"], "MIT", "names no competence"),
        (["code\x1b[2J"], "MIT", "names no competence"),
        (["code"], "", "is no SPDX licence"),
        (["code"], "free as in beer!", "is no SPDX licence"),
        (["code"], "Apache-3.7", "is not in SPDX's list"),
    ],
)
def test_a_competence_and_a_licence_are_asked_for(
    registry: Registry, place: Path, competences: list[str], licence: str, words: str
) -> None:
    rose = grown(registry, "rose")
    with pytest.raises(ConfigError, match=words):
        publish(registry, rose.digest, FolderRemote(place), competences=competences, licence=licence)
    assert not place.exists()


def test_a_licence_is_spelled_as_spdx_does_and_any_that_looks_so_will_do_without_its_list(
    registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rose = grown(registry, "rose")
    said = publish(registry, rose.digest, FolderRemote(place), competences=["code"], licence="apache-2.0 or mit")
    assert said.certificate.licence == "Apache-2.0 OR MIT"
    monkeypatch.setitem(__import__("sys").modules, "packaging.licenses", None)
    said = publish(registry, rose.digest, FolderRemote(place), competences=["code"], licence="Apache-3.7")
    assert said.certificate.licence == "Apache-3.7"
    with pytest.raises(ConfigError):
        publish(registry, rose.digest, FolderRemote(place), competences=["code"], licence="no; licence")


def test_a_file_that_nobody_would_take_is_not_given_away(registry: Registry, place: Path) -> None:
    class Pickle(Seedling):
        def to_bytes(self) -> bytes:
            return b"\x80\x04" + bytes(200)

    judge(registry, Pickle("rose"), base=BASE)
    with pytest.raises(GraftFileError, match="a pickle"):
        put(registry, Pickle("rose"), place)
    assert not place.exists()


def test_only_the_evaluator_of_a_registry_signs_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(tmp_path, monkeypatch)
    signed, keys = with_roles(tmp_path / "signed", machines)
    rose = grown(garden_in(signed), "rose")
    done = put(signed, rose, tmp_path / "library")
    assert sorted(done.certificate.keys) == sorted(keys[name].key_id for name in ("lab", "lab2"))
    machines.at("elsewhere", keys["machine"], keys["ada"])
    with pytest.raises(KeyFileError, match="1 keys of role evaluator"):
        put(signed, rose, tmp_path / "library")
    [listed] = read_library(FolderRemote(tmp_path / "library")).listed
    assert [signer.known_as for signer in listed.signers] == ["", ""], "this machine knows neither"


def garden_in(registry: Registry) -> Registry:
    """Give a registry that has roles a base."""
    other = garden(registry.folder.parent / "model")
    registry.write("created", other.state.created)
    return registry


def test_publishers_at_once_lose_nothing(tmp_path: Path, place: Path) -> None:
    gardens = [garden(tmp_path / f"garden{number}") for number in range(4)]
    shared, own = [], []
    for number, one in enumerate(gardens):
        shared.append(grown(one, "rose"))
        own.append(grown(one, f"lily {number}"))
    start = threading.Barrier(4)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        start.wait()
        try:
            for graft in (shared[number], own[number]):
                put(gardens[number], graft, place)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    catalogue = read_library(FolderRemote(place))
    assert catalogue.problems == ()
    found = [(one.certificate.graft, one.certificate.source.origin) for one in catalogue.listed]
    assert sorted(found) == sorted(
        (graft.digest, one.origin)
        for one, pair in zip(gardens, zip(shared, own, strict=True), strict=True)
        for graft in pair
    )
    for one in catalogue.listed:
        assert fetch(FolderRemote(place), one)


def test_a_registry_is_no_library_and_a_folder_is_none(registry: Registry, tmp_path: Path) -> None:
    rose = grown(registry, "rose")
    with pytest.raises(LibraryError, match="is a registry"):
        put(registry, rose, registry.folder)
    with pytest.raises(LibraryError, match="the first `saint library publish` there makes one"):
        read_library(FolderRemote(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b'{"format":2,"hash":"sha256"}', NewerFormatError),
        (b'{"format":1,"hash":"md5"}', Exception),
        (b"[" * 100_000, Exception),
        (b"\x00" * (1 << 20), Exception),
    ],
)
def test_a_library_of_another_format_is_left_alone(
    registry: Registry, place: Path, content: bytes, error: type[Exception]
) -> None:
    rose = grown(registry, "rose")
    place.mkdir()
    (place / "library.json").write_bytes(content)
    with pytest.raises(error, match=r"library\.json|update saint-g"):
        put(registry, rose, place)
    assert [file.name for file in place.rglob("*") if file.is_file()] == ["library.json"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OciServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as one:
        yield one


def test_a_library_in_an_oci_registry(registry: Registry, server: OciServer) -> None:
    def remote() -> OciRemote:
        return OciRemote(f"oci://{server.host}/garden/roses:v1", patience=5)

    rose, lily = grown(registry, "rose"), grown(registry, "lily")
    put(registry, rose, remote())
    put(registry, lily, remote())
    assert len(read_library(remote()).listed) == 2
    assert fetch(remote(), find(remote(), rose.digest)) == rose.to_bytes()
    late = remote()
    list(late.names("certificates"))
    put(registry, rose, remote(), competence="prose")
    with pytest.raises(RemoteError, match="somebody else pushed"):
        put(registry, rose, late, competence="law")


def test_the_payload_of_a_certificate_is_plain_json_throughout(registry: Registry, place: Path) -> None:
    said: Any = json.loads(put(registry, grown(registry, "rose"), place).certificate.to_payload())
    assert json.loads(records.to_canonical(said)) == said
