"""What comes out of a library: nothing that its certificate, its signature and its digest do not all agree on."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hostile_files import header_and, of, tensor
from made_up_library import IDENTITY, Seedling, forge, garden, grown, put, thief
from saint.cli.main import main
from saint.errors import (
    BaseChangedError,
    GraftFileError,
    LedgerError,
    LibraryError,
    NewerFormatError,
    RemoteContentError,
    RemoteError,
    SaintError,
    SignatureError,
    UnknownNameError,
)
from saint.library import fetch, find, fit_of, must_fit, read_library
from saint.registry import Registry
from saint.remotes import FolderRemote
from saint.weights import Caps


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one graft, not to be changed."""
    root = tmp_path_factory.mktemp("published")
    registry = garden(root / "garden")
    put(registry, grown(registry, "rose"), root / "library")
    return root / "library"


@pytest.fixture
def place(published: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(published, tmp_path / "library"))


@pytest.fixture
def rose() -> Seedling:
    """The graft that is in it."""
    return Seedling("rose")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Another registry, over the same base."""
    return garden(tmp_path / "garden")


def certificate_in(place: Path) -> Path:
    [file] = (place / "certificates").iterdir()
    return file


def write(file: Path, content: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(content)


def test_a_changed_graft_is_found(rose: Seedling, place: Path) -> None:
    remote = FolderRemote(place)
    listed = find(remote, rose.digest)
    blob = place / "blobs" / rose.digest[:2] / rose.digest
    for position in (0, 9, 100, -1):
        changed = bytearray(rose.to_bytes())
        changed[position] ^= 1
        write(blob, bytes(changed))
        with pytest.raises(RemoteContentError, match="that hash to"):
            fetch(remote, listed)
    for content in (rose.to_bytes()[:-1], rose.to_bytes() + b"x", b""):
        write(blob, content)
        with pytest.raises(RemoteContentError, match=r"that hash to|sends more than"):
            fetch(remote, listed)
    blob.unlink()
    with pytest.raises(RemoteContentError):
        fetch(remote, listed)


def test_a_changed_certificate_is_found_wherever_it_was_changed(rose: Seedling, place: Path) -> None:
    file = certificate_in(place)
    content, chance = file.read_bytes(), random.Random(0)
    for position in [0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(60))]:
        changed = bytearray(content)
        changed[position] ^= 1 << chance.randrange(7)
        write(file, bytes(changed))
        catalogue = read_library(FolderRemote(place))
        assert catalogue.listed == ()
        assert "was changed" in catalogue.problems[0]
        with pytest.raises(RemoteContentError, match="was changed"):
            find(FolderRemote(place), rose.digest)


def test_a_certificate_that_was_changed_with_its_name_is_found_by_its_signature(rose: Seedling, place: Path) -> None:
    file = certificate_in(place)
    content, chance = file.read_bytes(), random.Random(0)
    for position in (chance.randrange(len(content)) for _ in range(200)):
        changed = bytearray(content)
        changed[position] ^= 1 << chance.randrange(7)
        name = f"{rose.digest}.{hashlib.sha256(changed).hexdigest()}.json"
        certificate_in(place).unlink()
        (place / "certificates" / name).write_bytes(changed)
        with pytest.raises((RemoteContentError, SignatureError, NewerFormatError)):
            find(FolderRemote(place), rose.digest)


def test_the_certificate_of_another_graft_is_refused(rose: Seedling, place: Path) -> None:
    file, lily = certificate_in(place), Seedling("lily")
    swapped = file.with_name(f"{lily.digest}.{file.name.partition('.')[2]}")
    file.rename(swapped)
    with pytest.raises(RemoteContentError, match="is the certificate of another graft"):
        find(FolderRemote(place), lily.digest)
    with pytest.raises(UnknownNameError):
        find(FolderRemote(place), rose.digest)


def test_somebody_else_signs_with_a_key_that_is_shown_as_unknown(rose: Seedling, place: Path, tmp_path: Path) -> None:
    [owner] = find(FolderRemote(place), rose.digest).signers
    key = thief(tmp_path)

    def boast(plain: dict[str, Any]) -> None:
        plain["predicate"]["evidence"]["gain_bpb"]["estimate"] = 99.0
        plain["predicate"]["source"]["judged"] = "2999-01-01T00:00:00+00:00"

    forge(place, boast, key=key)
    latest = find(FolderRemote(place), rose.digest)
    assert latest.certificate.evidence.gain_bpb.estimate == 99.0
    assert [(one.key_id, one.known_as) for one in latest.signers] == [(key.key_id, "")]
    for asked in (owner.key_id, owner.key_id[:16]):
        found = find(FolderRemote(place), rose.digest, signer=asked)
        assert found.certificate.evidence.gain_bpb.estimate == 0.2
    for asked in ("0" * 64, owner.key_id[:15], owner.key_id.upper()):
        with pytest.raises(SignatureError, match="no certificate of graft"):
            find(FolderRemote(place), rose.digest, signer=asked)
    assert len(read_library(FolderRemote(place)).listed) == 2


def test_a_key_that_is_announced_must_have_signed(rose: Seedling, place: Path, tmp_path: Path) -> None:
    listed = find(FolderRemote(place), rose.digest)
    owner, key = listed.certificate.keys, thief(tmp_path)

    def speak_for_the_owner(plain: dict[str, Any]) -> None:
        plain["predicate"]["keys"] = dict(owner)

    def speak_for_both(plain: dict[str, Any]) -> None:
        plain["predicate"]["keys"] |= owner

    def own_key_under_the_owners_id(plain: dict[str, Any]) -> None:
        [mine] = plain["predicate"]["keys"].values()
        plain["predicate"]["keys"] = dict.fromkeys(owner, mine)

    for change in (speak_for_the_owner, speak_for_both, own_key_under_the_owners_id, forget):
        forge(place, change, key=key)
        [problem] = read_library(FolderRemote(place)).problems
        assert "not signed by the key that it names" in problem
        for file in (place / "certificates").iterdir():
            if listed.digest not in file.name:
                file.unlink()


def forget(plain: dict[str, Any]) -> None:
    plain["predicate"]["keys"] = {}


CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another graft's evidence": lambda said: said["evidence"].update(graft="1" * 64),
    "another base's evidence": lambda said: said["evidence"].update(base="1" * 64),
    "a base that its identity does not have": lambda said: said["base"]["identity"].update(weights="1" * 64),
    "another stack": lambda said: said["evidence"].update(stack=["1" * 64]),
    "a stack of a path": lambda said: said["evidence"].update(stack=["../../etc/passwd"]),
    "a decision that rejects": lambda said: said["decision"]["verdicts"][0].update(outcome="reject"),
    "a decision that waits": lambda said: said["decision"]["verdicts"][0].update(outcome="defer"),
    "no competence": lambda said: said.update(competences=[]),
    "competences out of order": lambda said: said.update(competences=["prose", "code"]),
    "a competence with a cursor": lambda said: said.update(competences=["code\x1b[2J"]),
    "a kind that moves the cursor": lambda said: said["evidence"]["candidate"].update(kind="lora\x1b[1A"),
    "a reason that turns the writing": lambda said: said["decision"]["verdicts"][0].update(reason="\u202eevil"),
    "no licence": lambda said: said.update(licence=""),
    "something besides": lambda said: said.update(also="buy now"),
    "something missing": lambda said: said.pop("policy"),
    "a number that is none": lambda said: said["evidence"]["gain_bpb"].update(estimate="+9"),
    "a registry with a path for a name": lambda said: said["source"].update(origin="../../keys/local"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_signed_certificate_that_contradicts_itself_is_refused(place: Path, tmp_path: Path, what: str) -> None:
    forge(place, lambda plain: CONTRADICTIONS[what](plain["predicate"]), key=thief(tmp_path))
    catalogue = read_library(FolderRemote(place))
    assert len(catalogue.listed) == 1
    assert len(catalogue.problems) == 1
    assert "\n" not in catalogue.problems[0]
    assert "\x1b" not in catalogue.problems[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["subject"][0]["digest"].update(sha256="1" * 64),
        lambda plain: plain["subject"].append({"name": "also", "digest": {"sha256": "1" * 64}}),
        lambda plain: plain.update(also="this"),
        lambda plain: plain.update(_type="https://in-toto.io/Statement/v0.1"),
    ],
    ids=["another subject", "a second subject", "a field besides", "another form"],
)
def test_a_statement_is_about_its_graft_and_nothing_else(place: Path, tmp_path: Path, change: Any) -> None:
    forge(place, change, key=thief(tmp_path))
    [problem] = read_library(FolderRemote(place)).problems
    assert "says more than a certificate has to say" in problem


def test_a_newer_certificate_could_not_be_checked(place: Path, tmp_path: Path) -> None:
    forge(place, lambda plain: plain.update(predicateType="urn:saint-g:graft-certificate:v2"), key=thief(tmp_path))
    done = CliRunner().invoke(main, ["library", "list", str(place)])
    assert done.exit_code == 3
    assert "update saint-g" in done.output


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"W10=","payloadType":"application/vnd.in-toto+json","signatures":[]}',
        b'{"payload":"!","payloadType":"x","signatures":[]}',
        b"\xff\xfe",
        bytes(5 << 20),
    ],
    ids=["empty", "object", "deep", "empty statement", "a list", "no base64", "no text", "too large"],
)
def test_what_is_no_certificate_is_told_and_the_others_are_listed(rose: Seedling, place: Path, content: bytes) -> None:
    (place / "certificates" / f"{'1' * 64}.{hashlib.sha256(content).hexdigest()}.json").write_bytes(content)
    catalogue = read_library(FolderRemote(place))
    assert [one.certificate.graft for one in catalogue.listed] == [rose.digest]
    assert len(catalogue.problems) == 1
    done = CliRunner().invoke(main, ["library", "list", str(place)])
    assert done.exit_code == 1
    assert rose.digest[:12] in done.output
    assert "Traceback" not in done.output


def test_names_that_no_library_has_are_never_opened(rose: Seedling, place: Path) -> None:
    (place / "certificates" / "evil.json").write_text("{}")
    (place / "certificates" / f"{'A' * 64}.{'b' * 64}.json").write_text("{}")
    (place / "certificates" / f"{'a' * 64}.{'b' * 64}.json.exe").write_text("{}")
    (place / "certificates" / ("a" * 64)).mkdir()
    os.mkfifo(place / "certificates" / "pipe.json")
    catalogue = read_library(FolderRemote(place))
    assert (len(catalogue.listed), catalogue.problems) == (1, ())
    for asked in ("../" + rose.digest, "", "*", rose.digest + "x", rose.digest[:6].upper()):
        with pytest.raises(UnknownNameError):
            find(FolderRemote(place), asked)


def test_a_link_to_somewhere_else_is_not_followed(place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (place / "certificates" / f"{'a' * 64}.{'b' * 64}.json").symlink_to(tmp_path / "secret")
    with pytest.raises(RemoteError):
        read_library(FolderRemote(place))


HOSTILE = {
    "a pickle": b"\x80\x04" + bytes(64),
    "one name twice": header_and(bytes(8), b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}'),
    "not finite": of(data=b"\x00\x00\xc0\x7f" * 2),
    "overlapping": header_and(bytes(8), {"a": tensor(), "b": tensor()}),
    "a shape that lies": of(tensor(shape=(1 << 40,))),
    "a zip as well": of(data=bytes(8)) + b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_with_a_perfect_certificate_is_not_fetched(place: Path, tmp_path: Path, what: str) -> None:
    graft = forge(place, lambda _: None, key=thief(tmp_path), content=HOSTILE[what])
    listed = find(FolderRemote(place), graft)
    with pytest.raises(GraftFileError, match=f"graft {graft[:12]} of "):
        fetch(FolderRemote(place), listed)


def test_a_graft_above_the_cap_or_with_other_tensors_is_not_fetched(
    rose: Seedling, place: Path, tmp_path: Path
) -> None:
    listed = find(FolderRemote(place), rose.digest)
    with pytest.raises(GraftFileError, match="raise the cap"):
        fetch(FolderRemote(place), listed, caps=Caps(num_bytes=10))
    lily = Seedling("lily").to_bytes()
    graft = forge(place, lambda _: None, key=thief(tmp_path), content=lily)
    with pytest.raises(RemoteContentError, match="holds other tensors than its certificate says"):
        fetch(FolderRemote(place), find(FolderRemote(place), graft))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("weights", "its weights differ"),
        ("config", "its configuration differs"),
        ("tokenizer", "its tokenizer differs"),
    ],
)
def test_a_graft_for_another_base_is_refused(
    rose: Seedling, place: Path, tmp_path: Path, part: str, words: str
) -> None:
    other = garden(tmp_path / "other", identity=replace(IDENTITY, **{part: "f" * 64}))
    listed = find(FolderRemote(place), rose.digest)
    assert fit_of(listed.certificate, other).differs == words
    with pytest.raises(BaseChangedError, match=words):
        must_fit(listed, other, on_local_stack=True)
    refused = CliRunner().invoke(main, ["library", "install", str(place), rose.digest[:12], str(other.folder)])
    assert refused.exit_code == 1
    assert words in refused.stderr
    assert [event.name for event in other.ledger] == ["created"]


def test_what_a_graft_was_measured_on_has_to_stand_first(registry: Registry, tmp_path: Path, place: Path) -> None:
    rose, lily = grown(registry, "rose"), grown(registry, "lily")
    put(registry, lily, place)
    other = garden(tmp_path / "other")
    listed = find(FolderRemote(place), lily.digest)
    assert fit_of(listed.certificate, other).missing == (rose.digest,)
    with pytest.raises(LibraryError, match=f"was measured on {rose.digest[:12]}") as refused:
        must_fit(listed, other)
    assert "install those first" in str(refused.value)
    must_fit(listed, other, on_local_stack=True)
    grown(other, "rose")
    must_fit(listed, other)
    other.write("quarantined", {"graft": lily.digest, "reason": "poisoned"})
    with pytest.raises(LedgerError, match="poisoned"):
        must_fit(listed, other, on_local_stack=True)


def test_listing_and_showing_from_the_command_line(registry: Registry, tmp_path: Path) -> None:
    rose, place = grown(registry, "rose"), tmp_path / "new"
    put(registry, rose, place)
    run = CliRunner().invoke
    done = run(main, ["library", "list", str(place), "--for", str(registry.folder), "--json"])
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout)["grafts"]
    assert row["fit"] == {"differs": "", "missing": [], "status": "stands"}
    assert row["certificate"]["graft"] == rose.digest
    table = run(main, ["library", "list", str(place), "--for", str(registry.folder)]).output
    for words in (rose.digest[:12], "code", "+0.2000", "Apache-2.0", "judged there: stands", "not measured"):
        assert words in " ".join(table.split()) or words in table.replace("\n", ""), table
    assert "no graft of competence law" in run(main, ["library", "list", str(place), "--competence", "law"]).output
    shown = run(main, ["library", "show", str(place), rose.digest[:12]])
    assert shown.exit_code == 0, shown.output
    for words in (
        rose.digest,
        "Apache-2.0",
        "licence PSF-2.0",
        registry.origin,
        "the bare base",
        "safety       not measured",
    ):
        assert words in shown.output
    missing = run(main, ["library", "show", str(place), "ffff"])
    assert missing.exit_code == 2
    assert missing.stderr.startswith("saint: no graft of")


def test_every_refusal_is_one_sentence(rose: Seedling, place: Path, tmp_path: Path) -> None:
    for arguments in (
        ["list", str(tmp_path / "nowhere")],
        ["show", str(tmp_path / "nowhere"), "a"],
        ["publish", str(tmp_path / "nowhere"), "a", str(place), "--competence", "code", "--licence", "MIT"],
        ["install", str(place), rose.digest, str(tmp_path / "nowhere")],
        ["list", "ftp://somewhere/else"],
        ["list", "s3://me:secret@bucket/x"],
    ):
        done = CliRunner().invoke(main, ["library", *arguments])
        assert done.exit_code == 2, done.output
        assert done.stderr.startswith("saint: ")
        assert done.stderr.count("\n") == 1
        assert "secret" not in done.stderr
        assert isinstance(done.exception, SystemExit)


def test_what_is_raised_on_purpose_is_ours(rose: Seedling, place: Path) -> None:
    assert issubclass(LibraryError, SaintError)
    assert find(FolderRemote(place), rose.digest).address == str(place)
