"""What a stolen key can do: nothing after the entry that revokes it, and nothing that others have to do (T10)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from saint.cli.main import main
from saint.errors import ConfigError, KeyFileError, SignatureError
from saint.registry import Registry, _ledger
from saint.signing import _attest, _course, change_trust, key_path, sign_change, sign_entries, sign_trust, trust_of
from signed_garden import (
    FERN,
    LILY,
    ROSE,
    WHO,
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
    return Machines(tmp_path, monkeypatch)


def dated(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment.astimezone(tz)

    for room in (_ledger, _course, _attest):
        monkeypatch.setattr(room, "datetime", Clock)


def revoke(registry: Registry, key_id: str) -> None:
    trust = trust_of(registry)
    assert trust is not None
    change_trust(registry, sign_change(trust.without(key_id)), reason="stolen")


def test_1_a_stolen_key_counts_until_it_is_revoked_and_not_after(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    signed_by(registry, keys["lab"])
    judge(registry, ROSE)
    revoke(registry, keys["lab"].key_id)
    assert check(registry).problems == ()  # what it signed before stands
    number = len(registry.ledger.events())
    judge(registry, LILY)
    found = check(registry)
    assert len(found.problems) == 2
    assert all(problem.startswith(f"entry {number + 1}:") and "revoked" in problem for problem in found.problems)


def test_2_a_date_before_the_revocation_does_not_help_a_thief(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    revoke(registry, keys["lab"].key_id)
    signed_by(registry, keys["lab"])
    dated(monkeypatch, datetime.now(UTC) - timedelta(days=400))
    judge(registry, ROSE)
    problems = check(registry).problems
    assert sum("were revoked" in problem or "was signed by others" in problem for problem in problems) == 2
    assert sum("a day before an entry" in problem for problem in problems) == len(problems) - 2 == 2


def test_3_one_stolen_root_key_of_two_changes_nothing(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    wanted = trust_in(registry.origin, keys, version=2, who={**WHO, "evaluator": ("thief",)})
    before = len(registry.ledger.events())
    for signers in (("root1",), ("root1", "thief"), ("thief", "lab", "ada")):
        with pytest.raises(SignatureError, match="lacks signatures of root keys"):
            change_trust(registry, sign_trust(wanted, *(keys[name] for name in signers)), reason="mine now")
    assert len(registry.ledger.events()) == before
    blob = registry.store.put(sign_trust(wanted, keys["root1"]).to_bytes())
    registry.ledger.append(
        "trust_set", lambda _: {"version": 2, "trust": blob, "reason": "past the door"}, blobs=[blob]
    )
    assert "nothing after it could be checked" in check(registry).problems[0]


def test_4_a_lost_root_is_replaced_by_those_that_are_left(machines: Machines) -> None:
    who = {**WHO, "root": ("root1", "root2", "root3")}
    keys = machines.make(*{name for names in who.values() for name in names}, "root4")
    machines.at("owner", *(key for name, key in keys.items()))
    registry = Registry.open(machines.root / "garden")
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=1, who=who)), reason="roles")
    sign_entries(registry)
    judge(registry, ROSE)
    after = trust_in(registry.origin, keys, version=2, who={**who, "root": ("root2", "root3", "root4")})
    change_trust(registry, sign_trust(after, keys["root2"], keys["root3"]), reason="root1 was stolen")
    judge(registry, LILY)
    assert check(registry).problems == ()
    again = trust_in(registry.origin, keys, version=3, who=who)
    with pytest.raises(SignatureError, match="lacks signatures"):
        change_trust(registry, sign_trust(again, keys["root1"], keys["root2"]), reason="the thief's")


def test_5_a_key_whose_role_expired_does_not_count_whatever_the_date_says(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds")
    registry, keys = with_roles(machines.root / "garden", machines, evaluator={"expires": until})
    judge(registry, ROSE)
    dated(monkeypatch, datetime.now(UTC) + timedelta(days=60))
    registry.write("noted", {"what": "time goes by"})
    later = (datetime.now(UTC) + timedelta(days=60)).isoformat(timespec="seconds")
    assert check(registry, now=later).problems == ()  # what was signed in time stands
    with pytest.raises(KeyFileError, match="have not expired"):
        judge(registry, LILY)
    dated(monkeypatch, datetime.now(UTC) - timedelta(days=1))
    signed_by(registry, keys["lab"])
    judge(registry, FERN)
    assert sum("had expired" in problem for problem in check(registry, now=later).problems) == 2


def test_6_one_key_does_not_do_two_people_s_work(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    with pytest.raises(ConfigError, match="must be different keys"):
        trust_in(registry.origin, keys, version=2, who={**WHO, "approver": ("lab",)})
    signed_by(registry, keys["lab"])
    judge(registry, ROSE, approvals=1)
    moved = trust_in(registry.origin, keys, version=2, who={**WHO, "evaluator": ("lab2",), "approver": ("lab",)})
    change_trust(registry, sign_change(moved), reason="the lab approves now")
    signed_by(registry, keys["lab"])
    registry.approve(ROSE.digest, by="Ada", reason="read it")
    [problem] = check(registry).problems
    assert "signed as evaluator and as approver of the same graft" in problem


def test_7_one_person_with_two_names_does_not_approve_twice(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    judge(registry, ROSE, approvals=2)
    machines.at("ada", keys["ada"])
    at_ada = open_signed(registry.folder)
    at_ada.approve(ROSE.digest, by="Ada", reason="read it")
    with pytest.raises(SignatureError, match="approved of this judgement before"):
        at_ada.approve(ROSE.digest, by="Bob", reason="read it too")
    machines.at("bob", keys["bob"])
    open_signed(registry.folder).approve(ROSE.digest, by="Bob", reason="read it too")
    assert registry.state.standing == [ROSE.digest]
    machines.at("owner")
    assert check(registry).problems == ()


def test_8_as_many_approvers_as_the_trust_file_wants(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines, approver={"threshold": 2})
    judge(registry, ROSE, approvals=1)
    machines.at("ada", keys["ada"])
    with pytest.raises(SignatureError, match="wants 2 approvers"):
        open_signed(registry.folder).approve(ROSE.digest, by="Ada", reason="read it")
    forged = Registry.open(registry.folder)
    signed_by(forged, keys["ada"])
    forged.approve(ROSE.digest, by="Ada", reason="read it")
    machines.at("owner")
    [problem] = check(registry).problems
    assert "after 1 approvers' keys, and 2 must sign" in problem


def test_9_a_threshold_of_evaluators_is_kept(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines, evaluator={"threshold": 2})
    judge(registry, ROSE)
    assert check(registry).problems == ()
    signed_by(registry, keys["lab"], keys["lab"])
    judge(registry, LILY)
    assert len(check(registry).problems) == 2


def test_the_drill_on_the_command_line(machines: Machines) -> None:
    """From embedded keys to roles, a key stolen, revoked, rotated."""

    def saint(*words: object, status: int = 0) -> str:
        done = CliRunner().invoke(main, ["keys", *map(str, words)])
        assert done.exit_code == status, done.output
        return done.output

    machines.at("owner")
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    for name in ("boss", "machine", "lab", "lab2", "ada", "new"):
        saint("make", name)
    roles = machines.root / "roles.toml"
    given = {"root": ["local", "boss"], "proposer": ["machine"], "evaluator": ["lab", "lab2"], "approver": ["ada"]}
    lines = [f"[{role}]\nkeys = {names!r}\n" for role, names in {**given, "log": ["machine"]}.items()]
    roles.write_text("".join(lines), encoding="utf-8")
    garden = registry.folder
    assert "version 2" in saint("roles", garden, "--set", roles, "--reason", "three people")
    judge(registry, LILY)
    saint("revoke", garden, "lab2", "--reason", "laptop was stolen")
    saint("revoke", garden, "ada", "--reason", "last one", status=2)
    saint("rotate", garden, "ada", "new")
    assert "version 4" in saint("trust", garden)
    saint("revoke", garden, "nobody", "--reason", "?", status=2)
    judge(registry, FERN)
    assert check(registry).problems == ()
    assert not check(registry).is_embedded


def test_root_keys_on_two_machines_sign_one_after_the_other(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    first, second = machines.root / "first.json", machines.root / "second.json"
    run = CliRunner().invoke

    machines.at("one", keys["root1"])
    words = ["keys", "revoke", str(registry.folder), keys["lab2"].key_id, "--reason", "stolen"]
    assert run(main, words).exit_code == 1
    assert run(main, [*words, "--write", str(first)]).exit_code == 0
    machines.at("two", keys["root2"])
    signed = run(main, ["keys", "roles", str(registry.folder), "--from", str(first), "--write", str(second)])
    assert signed.exit_code == 0
    put = run(main, ["keys", "roles", str(registry.folder), "--from", str(second), "--reason", "stolen"])
    assert put.exit_code == 0, put.output
    assert not key_path("root1").exists()
    trust = trust_of(registry)
    assert trust is not None
    assert keys["lab2"].key_id not in trust.keys
