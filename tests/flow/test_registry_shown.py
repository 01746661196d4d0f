"""A registry that two processes grew at once: nothing is there twice, and anybody can check it, with what they have.

What else is shown of a registry lies elsewhere: push, pull and verify over S3 in `unit/remotes/test_s3.py`, the strict
schema of the ML-BOM in `unit/exports/test_exports.py`, what `verify.py` finds in `unit/registry/test_pages.py`.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from saint.registry import Registry
from saint.signing import keys_folder
from workshop import PLAN, Workshop, build_workshop

_ROOT = Path(__file__).parents[2]
_KEYS_PAGE = _ROOT / "docs" / "howto" / "keys.md"
_PLAN = PLAN.replace("[controls]", '[controls]\nafter = "never"').replace("rounds = 2", "rounds = 3", 1)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def growers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workshop, list[str]]:
    """A workshop whose registry two processes grew at once, and what each of them said."""
    workshop = build_workshop(tmp_path_factory.mktemp("shown"), plan=_PLAN)
    workshop.init()
    command = [sys.executable, "-m", "saint.cli", "grow", str(workshop.registry)]
    with Registry.open(workshop.registry).alone():
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in both:
            assert process.stderr is not None
            assert any("waiting for its turn" in line for line in process.stderr), "it waits, as any other would"
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    return workshop, said


def test_each_of_two_processes_grows_in_its_turn(growers: tuple[Workshop, list[str]]) -> None:
    _, said = growers
    rounds = [re.findall(r"^round (\d) of 3", one, flags=re.MULTILINE) for one in said]
    assert sorted(number for numbers in rounds for number in numbers) == ["1", "2", "3"]
    assert sorted(map(len, rounds)) == [1, 2], "one a round, then the other"


def test_every_step_is_there_once(growers: tuple[Workshop, list[str]]) -> None:
    workshop, _ = growers
    events = workshop.events()

    def times(name: str, *keys: str) -> Counter[Any]:
        return Counter(tuple(str(event["body"][key]) for key in keys) for event in events if event["event"] == name)

    for name, keys in (
        ("round_opened", ["round"]),
        ("round_closed", ["round"]),
        ("trained", ["trial"]),
        ("judged", ["graft", "round"]),
        ("measured", ["split"]),
    ):
        there = times(name, *keys)
        assert there, name
        assert set(there.values()) == {1}, name
    asked = [event["body"] for event in events if event["event"] == "queried"]
    answered = [event["body"]["decision"]["query"] for event in events if event["event"] == "judged"]
    assert asked
    assert len(asked) == sum(query is not None for query in answered)


def test_every_decision_and_signature_is_borne_out(growers: tuple[Workshop, list[str]]) -> None:
    workshop, _ = growers
    done = workshop.saint("verify", workshop.registry, "--decisions", "--signatures")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decisions worked out again" in done.stdout
    assert done.stdout.endswith("verified\n")


def test_a_copy_is_checked_by_its_own_page_without_this_package(
    growers: tuple[Workshop, list[str]], tmp_path: Path
) -> None:
    workshop, _ = growers
    found = json.loads(workshop.saint("verify", workshop.registry, "--json").stdout)
    copy = shutil.copytree(workshop.registry, tmp_path / "copy")
    command = [sys.executable, "-I", "-S", "verify.py", ".", "--expect", f"{found['num_entries']}:{found['root']}"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, env={})
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"head {found['head']}\n" in done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_attestation_is_checked_by_the_commands_of_the_how_to(
    growers: tuple[Workshop, list[str]], tmp_path: Path
) -> None:
    workshop, _ = growers
    blocks = re.findall(r"```text\n(.*?)```", _KEYS_PAGE.read_text(), flags=re.DOTALL)
    [block] = [text for text in blocks if "openssl" in text]
    [attestation, *_] = next(event["body"]["attestations"] for event in workshop.events() if event["event"] == "judged")
    shutil.copytree(workshop.registry, tmp_path / "garden")
    shutil.copy(keys_folder() / "local.pub", tmp_path / "key.pub")
    script = block.replace("AT/ATTESTATION", f"{attestation[:2]}/{attestation}").replace("python3", sys.executable)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in done.stdout, done.stderr
    place = tmp_path / "garden" / "blobs" / attestation[:2] / attestation
    envelope = json.loads(place.read_bytes())
    place.chmod(0o644)
    place.write_text(json.dumps({**envelope, "payloadType": "application/other"}))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" not in done.stdout
    assert done.returncode == 1


def test_the_commands_of_what_if_do_what_the_readme_says(
    growers: tuple[Workshop, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(growers[0].root, tmp_path / "here")
    workshop = Workshop(tmp_path / "here")
    monkeypatch.setenv("SAINT_HOME", str(shutil.copytree(keys_folder().parent, tmp_path / "home")))
    monkeypatch.chdir(workshop.root)
    graft = json.loads(workshop.saint("status", "garden", "--json").stdout)["judged"]
    [stands] = [one["digest"] for one in graft if one["status"] == "stands"]
    section = (_ROOT / "README.md").read_text().partition("## What if\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^\$ saint (.+?)(?:  +#.*)?$", section, flags=re.MULTILINE)
    assert len(commands) == 13
    for command in commands:
        words = shlex.split(command.replace("37a1", stands[:8]).replace("path/to/the/right/one", "base"))
        done = workshop.saint(*words)
        assert done.returncode == (3 if words[0] == "doctor" and "unknown" in done.stdout else 0), (
            command,
            done.stderr,
        )
    assert [event["event"] for event in workshop.events()[-2:]] == ["trust_set", "rolled_back"]


def test_a_base_of_the_same_name_and_another_bit_is_refused(
    growers: tuple[Workshop, list[str]], tmp_path: Path
) -> None:
    other = shutil.copytree(growers[0].base, tmp_path / "base")
    content = bytearray((other / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (other / "model.safetensors").write_bytes(content)
    done = growers[0].saint("grow", growers[0].registry, "--base", other)
    assert done.returncode in (1, 2)
    assert "this registry is about another base" in done.stderr
