"""Replay, freeze, mix-and-match and fast-forward: what was signed for one thing holds for no other (threat T9)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from saint import records
from saint.cli.main import main
from saint.errors import KeyFileError, LedgerError, SignatureError
from saint.registry import Registry
from saint.signing import (
    change_trust,
    pin,
    read_envelope,
    sign_approval,
    sign_change,
    sign_entries,
    sign_trust,
    trust_of,
)
from signed_garden import (
    FERN,
    LATER,
    LILY,
    NOW,
    ROSE,
    Machines,
    check,
    judge,
    open_signed,
    signed_by,
    trust_in,
    with_roles,
)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    made = Machines(tmp_path, monkeypatch)
    made.at("owner")
    return made


@pytest.fixture
def garden(machines: Machines) -> Registry:
    """Embedded: one key that nobody had to make."""
    return open_signed(machines.root / "garden")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_first_write_makes_a_key_and_says_that_it_has_all_roles(garden: Registry) -> None:
    judge(garden, ROSE)
    found = check(garden)
    assert (found.num_attestations, found.problems, found.unchecked) == (2, (), ())
    assert found.is_embedded
    said = run("verify", garden.folder, "--signatures")
    assert said.exit_code == 0, said.output
    assert "one key has all roles" in said.output
    assert json.loads(run("verify", garden.folder, "--signatures", "--json").output)["signatures"]["is_embedded"]


def test_reading_makes_no_key(garden: Registry, machines: Machines) -> None:
    assert run("status", garden.folder).exit_code == 0
    assert not (machines.root / "owner" / "keys").exists()


def test_all_sorts_of_entries_are_signed(garden: Registry) -> None:
    garden.write("trained", {"trial": "t", "candidate": {"kind": "lora"}, "stack": [], "graft": ROSE.digest})
    garden.write("trained", {"trial": "u", "candidate": {"kind": "lora"}, "stack": [], "graft": ""})
    judge(garden, ROSE)
    garden.rollback(ROSE.digest, reason="not nice")
    number = judge(garden, LILY, approvals=1)
    garden.approve(LILY.digest, by="Ada", reason="read it")
    attested = {event.name: event.body.get("attestations", []) for event in garden.ledger if event.name != "trained"}
    assert {name: len(digests) for name, digests in attested.items()} == {
        "queried": 0,
        "judged": 2,
        "rolled_back": 1,
        "approved": 1,
    }
    types = [json.loads(read_envelope(garden.payload(d)).payload)["predicateType"] for d in attested["judged"]]
    assert types == ["https://in-toto.io/attestation/test-result/v0.1", "https://saint-g.dev/decision/v1"]
    [approval] = [json.loads(read_envelope(garden.payload(d)).payload)["predicate"] for d in attested["approved"]]
    bound = {name: approval[name] for name in ("graft", "base", "stack", "policy", "holdout", "query")}
    assert bound == {
        "graft": LILY.digest,
        "base": "0" * 64,
        "stack": [],
        "policy": "e" * 64,
        "holdout": "f" * 64,
        "query": 2,
    }
    assert approval["judgement"]["entry"] == number
    assert approval["saintg_context"]["origin"] == garden.origin
    assert check(garden).problems == ()


def approval(registry: Registry, number: int, *, valid_until: str = LATER) -> bytes:
    return sign_approval(registry, number, by="Ada", reason="read it", valid_until=valid_until).to_bytes()


def put_in(registry: Registry, graft: str, content: bytes) -> None:
    sign_entries(registry, given=read_envelope(content))
    registry.approve(graft, by="Ada", reason="read it")


def must_refuse(registry: Registry, graft: str, content: bytes, words: str) -> None:
    before = len(registry.ledger.events())
    with pytest.raises(SignatureError, match=words):
        put_in(registry, graft, content)
    assert len(registry.ledger.events()) == before


def test_an_approval_that_was_signed_elsewhere_holds_once(garden: Registry) -> None:
    number = judge(garden, ROSE, approvals=1)
    signed = approval(garden, number)
    garden.write("noted", {"what": "others write meanwhile"})
    put_in(garden, ROSE.digest, signed)
    assert garden.state.standing == [ROSE.digest]
    assert check(garden).problems == ()
    with pytest.raises(LedgerError, match="does not wait"):
        put_in(garden, ROSE.digest, signed)


def test_1_an_approval_of_another_graft_is_refused(garden: Registry) -> None:
    first = judge(garden, ROSE, approvals=1)
    judge(garden, LILY, approvals=1)
    must_refuse(garden, LILY.digest, approval(garden, first), "its graft is")


def test_2_an_approval_of_another_stack_is_refused(garden: Registry) -> None:
    signed = approval(garden, judge(garden, ROSE, approvals=1))
    judge(garden, LILY)
    judge(garden, ROSE, approvals=1)
    must_refuse(garden, ROSE.digest, signed, "its stack is")


def test_3_an_approval_of_another_registry_is_refused(garden: Registry, machines: Machines) -> None:
    other = open_signed(machines.root / "other")
    signed = approval(other, judge(other, ROSE, approvals=1))
    judge(garden, ROSE, approvals=1)
    must_refuse(garden, ROSE.digest, signed, "it is for registry")


def test_4_an_approval_that_has_expired_is_refused(garden: Registry) -> None:
    number = judge(garden, ROSE, approvals=1)
    must_refuse(garden, ROSE.digest, approval(garden, number, valid_until="2020-01-01T00:00:00+00:00"), "expired")


def test_5_an_approval_of_an_earlier_judgement_is_refused(garden: Registry) -> None:
    signed = approval(garden, judge(garden, ROSE, approvals=1))
    judge(garden, ROSE, approvals=1)
    must_refuse(garden, ROSE.digest, signed, "its (query|judgement) is")


def test_6_an_approval_of_a_key_that_nobody_trusts_is_refused(garden: Registry, machines: Machines) -> None:
    number = judge(garden, ROSE, approvals=1)
    genuine = read_envelope(approval(garden, number))
    thief = machines.make("thief")["thief"]
    forged = replace(genuine, signatures=()).with_signatures_of(thief)
    must_refuse(garden, ROSE.digest, forged.to_bytes(), "0 of the keys")


def test_7_an_older_trust_file_does_not_come_back(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    first = sign_change(trust_in(registry.origin, keys, version=1))
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=2)), reason="again")
    with pytest.raises(SignatureError, match="version 3"):
        change_trust(registry, first, reason="back")


def test_8_no_version_of_a_trust_file_is_skipped(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    with pytest.raises(SignatureError, match="version 2"):
        change_trust(registry, sign_change(trust_in(registry.origin, keys, version=999)), reason="far ahead")
    remembered = trust_of(registry)
    assert remembered is not None
    assert remembered.version == 1


def test_9_a_trust_file_of_another_registry_is_refused(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    other = Registry.open(machines.root / "other")
    with pytest.raises(SignatureError, match="is for registry"):
        change_trust(registry, sign_change(trust_in(other.origin, keys, version=2)), reason="mixed up")


def test_10_a_log_that_was_cut_before_a_change_of_trust_is_seen(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    judge(registry, ROSE)
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=2)), reason="again")
    last = max(registry.folder.glob("log/*/*.json"))
    last.unlink()
    found = check(registry)
    assert any("was cut or written anew" in problem for problem in found.problems)
    assert run("verify", registry.folder, "--signatures").exit_code == 1


def test_11_a_trust_file_that_expired_is_not_taken_for_the_newest(machines: Machines) -> None:
    until = {"expires": "2998-12-31T00:00:00+00:00"}
    registry, _ = with_roles(machines.root / "garden", machines, root=until)
    judge(registry, ROSE)
    assert check(registry, now=NOW).unchecked == ()
    [said] = check(registry, now="2999-01-01T00:00:00+00:00").unchecked
    assert "expired on 2998-12-31" in said


def test_12_attestations_do_not_move_between_entries(garden: Registry) -> None:
    judge(garden, ROSE)
    of_rose = next(event for event in garden.ledger if event.name == "judged").body["attestations"]
    garden.ledger.attest = lambda name, *_: (
        {"attestations": [garden.payload(digest) for digest in of_rose]} if name == "judged" else {}
    )
    judge(garden, LILY)
    assert sum("about something else" in problem for problem in check(garden).problems) == 2


@pytest.mark.parametrize("is_newer", [False, True])
def test_13_a_log_that_was_written_anew_with_another_key_is_seen(
    garden: Registry, machines: Machines, *, is_newer: bool
) -> None:
    judge(garden, ROSE)
    name = (garden.folder / "origin").read_bytes()
    shutil.rmtree(garden.folder)
    machines.at("thief")
    forged = Registry.open(garden.folder)
    (garden.folder / "origin").unlink()
    (garden.folder / "origin").write_bytes(name)
    machines.at("thief's other machine")
    forged = Registry.open(garden.folder)
    sign_entries(forged)
    judge(forged, LILY)
    if is_newer:
        assert run("keys", "make", "new").exit_code == 0
        rotated = run("keys", "rotate", forged.folder, "local", "new", "--reason", "to be newer than the owner's")
        assert rotated.exit_code == 0, rotated.output
        forged = Registry.open(garden.folder)
    assert check(forged).problems == ()  # by itself it looks well
    machines.at("owner")
    for _ in range(2):  # and it is not remembered in the place of the owner's
        assert any("written anew" in problem for problem in check(forged).problems)


def test_14_entries_that_nobody_signed_are_seen(garden: Registry) -> None:
    judge(garden, ROSE)
    garden.ledger.attest = None
    judge(garden, LILY)
    assert any("2 attestations belong" in problem for problem in check(garden).problems)


def test_15_who_was_not_told_whom_to_trust_could_not_check(garden: Registry, machines: Machines) -> None:
    judge(garden, ROSE)
    machines.at("elsewhere")
    assert "nobody has said on this machine" in check(garden).unchecked[0]
    assert run("verify", garden.folder, "--signatures").exit_code == 3
    with pytest.raises(SignatureError, match="compare them"):
        pin(garden, ["0" * 64])
    trust = trust_of(garden)
    assert trust is not None
    assert run("keys", "trust", garden.folder, "--root", trust.roles["root"].keys[0][:16]).exit_code == 0
    assert run("verify", garden.folder, "--signatures").exit_code == 0


def test_a_registry_from_before_there_were_keys_could_not_be_checked(machines: Machines) -> None:
    old = Registry.open(machines.root / "old")
    judge(old, ROSE)
    assert old.origin.startswith("saint-g-")
    assert run("verify", old.folder, "--signatures").exit_code == 3
    sign_entries(old)
    judge(old, FERN)
    found = check(old)
    assert (found.num_attestations, found.num_unsigned, found.problems) == (2, 1, ())
    assert len(found.unchecked) == 1


def test_a_machine_without_the_key_is_refused_before_it_writes(garden: Registry, machines: Machines) -> None:
    judge(garden, ROSE)
    machines.at("elsewhere")
    copy = open_signed(garden.folder)
    before = len(copy.ledger.events())
    with pytest.raises(KeyFileError, match="bring the key's file"):
        judge(copy, LILY)
    assert len(copy.ledger.events()) == before + 1  # the query, which counts whatever comes of it


def test_a_changed_byte_of_an_attestation_is_found(garden: Registry) -> None:
    judge(garden, ROSE)
    [digest, _] = next(event for event in garden.ledger if event.name == "judged").body["attestations"]
    place = garden.store.blob_path(digest)
    content = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(content.replace(b'"keyid":"', b'"keyid":"0', 1))
    assert run("verify", garden.folder, "--signatures").exit_code == 1


def test_approve_on_the_command_line_signs_writes_and_takes_up(garden: Registry, machines: Machines) -> None:
    judge(garden, ROSE, approvals=1)
    file = machines.root / "approval.json"
    who = ("--by", "Ada", "--reason", "read it")
    assert run("approve", garden.folder, ROSE.digest[:12], *who, "--write", file).exit_code == 0
    refused = run("approve", garden.folder, ROSE.digest[:12], "--by", "Eve", "--reason", "read it", "--from", file)
    assert refused.exit_code == 1
    assert "its by is" in refused.stderr
    assert run("approve", garden.folder, ROSE.digest[:12], *who, "--from", file).exit_code == 0
    assert run("verify", garden.folder, "--signatures").exit_code == 0


def test_nothing_is_remembered_of_a_registry_that_does_not_hold(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    machines.at("reader")
    pin(registry, [keys["root1"].key_id, keys["root2"].key_id])
    machines.at("owner")
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=2)), reason="again")
    signed_by(registry, keys["thief"])
    judge(registry, ROSE)
    machines.at("reader")
    before = (machines.root / "reader" / "trust" / f"{registry.origin}.json").read_bytes()
    assert check(registry).problems
    assert (machines.root / "reader" / "trust" / f"{registry.origin}.json").read_bytes() == before
    assert json.loads(before)["version"] == 1


def test_a_trust_file_is_spelled_one_way(machines: Machines) -> None:
    keys = machines.make("root1", "root2", "machine", "lab", "lab2", "ada", "bob", "log")
    trust = trust_in("a" * 32, keys, version=1)
    envelope = sign_trust(trust, keys["root1"], keys["root2"])
    spaced = replace(envelope, payload=json.dumps(records.to_plain(trust)).encode())
    registry = Registry.open(machines.root / "garden")
    with pytest.raises(SignatureError, match="canonical"):
        change_trust(registry, spaced, reason="spaced")


@pytest.mark.parametrize("attestations", [7, "text", [7], ["0" * 64, "1" * 64], [], [[], {}]])
def test_an_entry_that_names_no_attestations_is_a_problem_and_no_crash(garden: Registry, attestations: object) -> None:
    judge(garden, ROSE)
    garden.ledger.attest = None
    body = {"graft": ROSE.digest, "reason": "forged", "stack": [], "attestations": attestations}
    garden.ledger.append("rolled_back", lambda _: body)
    assert len(check(garden).problems) == 1
    assert run("verify", garden.folder, "--signatures").exit_code == 1
