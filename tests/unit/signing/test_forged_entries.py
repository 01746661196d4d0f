"""What somebody who may write the folder, but holds no key, would put there."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from saint.cli.main import main
from saint.errors import KeyFileError
from saint.registry import Registry, public_pem, verify
from saint.signing import PublicKey, Signatures, check_signatures
from signed_garden import NOW, ROSE, Machines, check, judge, open_signed, with_roles

RESULT = {"split": "vault", "grown_domain": "prose", "documents": {}, "arms": []}


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    made = Machines(tmp_path, monkeypatch)
    made.at("owner")
    return made


def forged(registry: Registry, event: str, **body: object) -> Signatures:
    registry.ledger.attest = None
    registry.write(event, body)
    return check_signatures(Registry.open(registry.folder), now=NOW)


def test_a_result_on_the_vault_is_signed_by_the_evaluator(machines: Machines) -> None:
    registry, _ = with_roles(machines.root / "garden", machines)
    judge(registry, ROSE)
    registry.write("measured", {**RESULT, "stack": [ROSE.digest]})
    assert check(registry).problems == ()
    [problem] = forged(registry, "measured", **RESULT, stack=[ROSE.digest]).problems
    assert "1 attestations belong to a 'measured' entry, and it has 0" in problem


def test_a_signed_result_holds_for_its_numbers_alone(machines: Machines) -> None:
    registry = open_signed(machines.root / "garden")
    registry.write("measured", {**RESULT, "stack": []})  # with the trust file, as it is the first that is signed
    judge(registry, ROSE)
    registry.write("measured", {**RESULT, "stack": [ROSE.digest]})
    assert check(registry).problems == ()
    [*_, event] = registry.ledger.events()
    registry.ledger.attest = None
    registry.append("measured", lambda _: {**event.body, "arms": ["better"]}, blobs=event.blobs)
    [problem] = check(registry).problems
    assert "about something else: its subject is another one" in problem


@pytest.mark.parametrize(
    "point", ["00" * 32, "01" + "00" * 30 + "80", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"]
)
def test_a_key_that_everybody_can_sign_for_is_none(point: str) -> None:
    with pytest.raises(KeyFileError, match="everybody can sign for it"):
        PublicKey(bytes.fromhex(point))


def test_a_key_beside_the_checkpoints_is_the_one_that_it_is_called_by(machines: Machines) -> None:
    registry = open_signed(machines.root / "garden")
    judge(registry, ROSE)
    registry.seal.seal()
    assert verify(registry).problems == ()
    [place] = registry.folder.glob("checkpoints/*.pem")
    theirs = machines.make("thief")["thief"]
    for content in (public_pem(theirs.public), b"junk"):
        place.unlink()
        place.write_bytes(content)
        [problem] = verify(registry).problems
        assert "does not hold the key that it is called by" in problem
    place.unlink()
    os.mkfifo(place)
    assert CliRunner().invoke(main, ["verify", str(registry.folder)]).exit_code == 1
