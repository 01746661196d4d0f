"""What no role signs is covered by checkpoints, and whose keys sign these is what the trust file says."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saint.cli.main import main
from saint.records import to_canonical
from saint.registry import Checkpoint, Event, Registry, public_pem, remember, verify
from saint.registry._sealing import key_name
from saint.signing import Key, change_trust, sign_change, trust_of
from signed_garden import LILY, ROSE, Machines, check, judge, open_signed, trust_in, with_roles


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    made = Machines(tmp_path, monkeypatch)
    made.at("owner")
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def put_last(registry: Registry, name: str, body: Mapping[str, Any], *, time: str = "") -> None:
    """An entry by somebody who may write the folder, and holds no key."""
    last: Event = registry.ledger.reread()[-1]
    entry = {"format": 1, "number": last.number + 1, "previous": last.digest, "event": name, "body": body}
    place = registry.ledger.place(last.number + 1)
    place.write_text(to_canonical({**entry, "blobs": [], "time": time or last.time}))


def signed_note(registry: Registry, key: Key) -> Path:
    """A checkpoint over all entries by any key, as a thief would put it."""
    found, folder = verify(registry), registry.folder / "checkpoints"
    size = found.num_entries
    checkpoint = Checkpoint(origin=registry.origin, size=size, root=base64.b64decode(found.root))
    (folder / key_name(key.public)).write_bytes(public_pem(key.public))
    place = folder / f"{size:09d}.note"
    place.write_text(checkpoint.to_note(key))
    return place


@pytest.mark.parametrize("name", ["holdout_retired", "exported", "noted"])
def test_an_entry_that_nobody_signed_and_no_checkpoint_covers_is_not_checked(machines: Machines, name: str) -> None:
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    assert run("verify", registry.folder, "--signatures").exit_code == 0
    body = {"holdout": "f" * 64, "reason": "theirs"} if name == "holdout_retired" else {"way": "lora", "grafts": []}
    put_last(registry, name, body)
    said = run("verify", registry.folder, "--signatures")
    assert said.exit_code == 3, said.output
    assert "could not check: 1 entries, the first of them 2, are signed by no role" in said.output
    with_the_key = open_signed(registry.folder)
    with_the_key.write("noted", {"what": "an honest one"})
    with_the_key.seal.seal()
    assert check(registry).unchecked == ()


def test_a_checkpoint_of_a_stranger_covers_nothing(machines: Machines) -> None:
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    put_last(registry, "noted", {})
    signed_note(registry, machines.make("thief")["thief"])
    assert "1 entries, the first of them 2" in check(registry).unchecked[0]
    assert "they are by no key that is known here" in run("verify", registry.folder).output


def test_a_log_key_that_was_revoked_speaks_for_what_was_before_and_no_more(machines: Machines) -> None:
    registry, keys = with_roles(machines.root / "garden", machines)
    judge(registry, ROSE)
    trust = trust_of(registry)
    assert trust is not None
    change_trust(registry, sign_change(trust.with_instead(keys["log"].key_id, keys["thief"].public_key)), reason="lost")
    judge(registry, LILY)
    assert verify(registry).unchecked == ()  # its old checkpoints still hold
    remember(registry, verify(registry))
    signed_note(registry, keys["log"])
    found = verify(open_signed(registry.folder))
    assert found.problems == ()
    assert "may sign for so many entries" in found.unchecked[0]
    assert "are signed by no role" in check(registry).unchecked[0]


def test_keys_that_nobody_told_of_are_said_to_be_taken_on_trust(machines: Machines) -> None:
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    assert "note:" not in run("verify", registry.folder).output
    trust = trust_of(registry)
    assert trust is not None
    machines.at("visitor")
    assert run("verify", registry.folder).exit_code == 3
    again = run("verify", registry.folder)
    assert (again.exit_code, f"taken on trust on {datetime.now(UTC):%Y-%m-%d}" in again.output) == (0, True)
    assert run("keys", "trust", registry.folder, "--root", trust.roles["root"].keys[0]).exit_code == 0
    told = run("verify", registry.folder)
    assert (told.exit_code, "note:" in told.output) == (0, False)


def test_a_key_that_was_remembered_counts_no_more_once_there_is_a_trust_file(machines: Machines) -> None:
    registry, stray = Registry.open(machines.root / "garden"), machines.make("stray")["stray"]
    registry.seal.signer = lambda: stray
    registry.write("noted", {})
    registry.seal.seal()
    assert verify(registry).unchecked == ()
    keys = machines.make("root1", "root2", "machine", "lab", "lab2", "ada", "bob", "log")
    machines.at("owner", *keys.values())
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=1)), reason="roles")
    [said] = verify(open_signed(registry.folder)).unchecked
    assert "000000001.note: they are by no key that is known here" in said


def test_an_entry_from_the_future_is_a_problem_and_no_clock(machines: Machines) -> None:
    until = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds")
    registry, _ = with_roles(machines.root / "garden", machines, evaluator={"expires": until})
    put_last(registry, "noted", {}, time="2999-01-01T00:00:00+00:00")
    judge(open_signed(registry.folder), ROSE)  # by keys that have not expired
    problems = check(registry, now=datetime.now(UTC).isoformat(timespec="seconds")).problems
    assert [problem.split(",")[0] for problem in problems] == ["entry 1 is dated 2999-01-01T00:00:00+00:00"]


def test_an_entry_that_is_dated_days_before_an_earlier_one_is_a_problem(machines: Machines) -> None:
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    put_last(registry, "noted", {}, time=(datetime.now(UTC) - timedelta(hours=20)).isoformat(timespec="seconds"))
    assert check(registry).problems == ()  # clocks are not that good
    put_last(registry, "noted", {}, time="2020-01-01T00:00:00+00:00")
    [problem] = check(registry).problems
    assert "entry 3 is dated 2020-01-01T00:00:00+00:00, over a day before an entry that comes before it" in problem
