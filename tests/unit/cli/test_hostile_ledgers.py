"""A ledger that somebody else has written: it gives no traceback, and does not command a terminal."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from made_up_garden import FERN, made_up_garden
from saint import records
from saint.cli.main import main

EVIL = "[/x] \x1b]0;yours\x07\x1b[2J\x9b31m\u202egnp.exe\u2066 <img src=x onerror=alert(1)>`|\n# Head\n![i](http://e/x)"
Change = Callable[[dict[str, Any]], object]


def saint(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def written_anew(folder: Path, change: Change) -> Path:
    """A registry of a stranger, whose entries were changed before they were chained."""
    made_up_garden(folder)
    previous = "0" * 64
    for place in sorted(folder.glob("log/*/*")):
        entry = json.loads(place.read_bytes())
        change(entry)
        content = records.to_canonical({**entry, "previous": previous}).encode()
        place.unlink()
        place.write_bytes(content)
        previous = hashlib.sha256(content).hexdigest()
    shutil.move(folder, folder.with_name("elsewhere"))
    return folder.with_name("elsewhere")


def evil(entry: dict[str, Any]) -> None:
    body = entry["body"]
    if "reason" in body:
        body["reason"] = EVIL
    for verdict in body.get("decision", {}).get("verdicts", []):
        verdict["reason"] = EVIL
    if entry["event"] == "created":
        body["plan"]["name"] = body["base"]["architecture"] = EVIL
        body["data"] = {name: {**one, "license": EVIL} for name, one in body["data"].items()}


@pytest.mark.parametrize("command", ["status", "log", "show", "report", "holdout", "top"])
def test_text_of_a_stranger_does_not_command_a_terminal(tmp_path: Path, command: str) -> None:
    folder = written_anew(tmp_path / "garden", evil)
    said = saint(command, folder, *([FERN.digest[:12]] if command == "show" else []))
    assert said.exit_code == 0, said.output
    assert not set(said.output) & set("\x1b\x07\x9b\u202e\u2066")


def test_an_error_does_not_command_a_terminal_either(tmp_path: Path) -> None:
    said = saint("status", tmp_path / "\x1b[2J\udcff")
    assert said.exit_code == 2
    assert "\x1b" not in said.output


@pytest.mark.parametrize("form", ["model-card", "annex-iv"])
def test_text_of_a_stranger_is_no_markup(tmp_path: Path, form: str) -> None:
    def base_too(entry: dict[str, Any]) -> None:
        evil(entry)
        if entry["event"] == "created":
            entry["body"]["base"]["digest"] = "` <img src=x>"

    folder = written_anew(tmp_path / "garden", base_too)
    said = saint("export", folder, "--as", form, "--output", tmp_path / "page.md")
    assert said.exit_code == 0, said.output
    page = (tmp_path / "page.md").read_text()
    _, _, page = page.rpartition("\n---\n")  # behind the front matter, which is JSON
    assert "\\<img" in page
    assert page.count("<") == page.count("\\<")
    assert not set(page) & set("\x1b\x07\x9b\u202e\u2066")
    assert "\n# Head" not in page


CHANGES: dict[str, tuple[str, Change]] = {
    "numbers that are none": ("trained", lambda body: body.update(train_flops=[])),
    "sizes that are none": ("created", lambda body: body["base"].update(num_params="many")),
    "text that is none": ("created", lambda body: body["data"].update({"prose/select": -1})),
    "a result without the grafts": ("measured", lambda body: body.update(arms=[])),
    "a policy without its digest": ("policy_set", lambda body: body.pop("digest")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_no_ledger_of_ours_says_gives_no_traceback_and_no_verdict(tmp_path: Path, what: str) -> None:
    event, change = CHANGES[what]
    folder = written_anew(tmp_path / "garden", lambda entry: entry["event"] == event and change(entry["body"]))
    for command in (
        ["status", folder],
        ["report", folder],
        ["verify", folder, "--signatures", "--decisions"],
        *(["export", folder, "--as", form, "--output", tmp_path / form] for form in ("slsa", "ml-bom", "annex-iv")),
    ):
        said = saint(*command)
        assert isinstance(said.exception, SystemExit | None), command
        assert said.exit_code != 0 or command[0] != "verify"


def test_what_nobody_expected_is_one_sentence_and_no_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("\x1b[2Jdigest\nof")

    monkeypatch.setattr(click.Group, "invoke", broken)
    said = saint("kinds")
    assert said.exit_code == 3
    assert len(said.output.splitlines()) == 1
    assert "KeyError" in said.output
    assert "\x1b" not in said.output
    monkeypatch.setenv("SAINT_TRACEBACK", "1")
    assert isinstance(saint("kinds").exception, KeyError)
