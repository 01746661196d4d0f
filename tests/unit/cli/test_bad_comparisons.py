"""What a user may get wrong in a comparison: one sentence and exit 2, before anything is trained."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from saint.cli.main import main
from workshop import Workshop

PLAN = """
name = "tiny"
base = "base"
budgets = [0.05]
seeds = [0]
tries = 1

[data]
prepared = "text"

[schedule]
num_steps = 2
seq_len = 16

[[arms]]
name = "phi"
kind = "phi"
size = "rank"

[[arms]]
name = "lora"
kind = "lora"
size = "rank"
"""


def compare(workshop: Workshop, plan: str, *more: object) -> Result:
    path = workshop.root / "compare.toml"
    path.write_text(plan, encoding="utf-8")
    arguments = ["compare", path, "--output-dir", workshop.root / "out", *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    [said] = result.stderr.strip().splitlines()[-1:]
    assert said.startswith("saint: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "lora"\n', 'name = "lara"\n', ("rival is 'lora'", "phi, lara")),
        ('name = "lora"\n', 'name = "phi"\n', ("two arms are called 'phi'",)),
        ('kind = "phi"', 'kind = "fi"', ("'fi'",)),
        ('kind = "phi"\nsize = "rank"', 'kind = "phi"\nsize = "width"', ("'width'", "rank")),
        ('size = "rank"\n\n[[arms]]', 'size = "rank"\noptions = { bases = "x" }\n\n[[arms]]', ("'bases'",)),
        ("budgets = [0.05]", "budgets = [5]", ("budgets", "between 0 and 1")),
        ("budgets = [0.05]", "budgets = [0.0001]", ("arm 'phi' fits none of the budgets", "raise budgets")),
        ("seq_len = 16", "seq_len = 1600", ("reads at most 64",)),
        ('base = "base"', 'base = "./bases"', ("bases",)),
        ('base = "base"', 'base = "bases.toml"', ("bases.toml", "cannot be read")),
        ('prepared = "text"', 'prepared = "texts"', ("texts", "not prepared data")),
        (
            '[data]\nprepared = "text"',
            '[data.domains.prose]\nrole = "grow"\nsources = ["nowhere/*.txt"]',
            ("nowhere/*.txt", "no such file"),
        ),
        ('size = "rank"\n\n[[arms]]', 'size = "rank"\noptions = { at = 3 }\n\n[[arms]]', ("'at'", "got 3")),
        ('size = "rank"\n\n[[arms]]', 'size = "rank"\noptions = { at = { q = 3 } }\n\n[[arms]]', ("'at'", "{'q': 3}")),
        ("name = ", "nmae = ", ("nmae", "did you mean 'name'")),
    ],
)
def test_a_plan_that_cannot_be_meant(workshop: Workshop, old: str, new: str, words: tuple[str, ...]) -> None:
    assert old in PLAN
    assert_refused(compare(workshop, PLAN.replace(old, new, 1)), *words)
    assert not list(workshop.root.glob("out/cells/*"))


def test_a_folder_with_the_results_of_another_plan(workshop: Workshop) -> None:
    (workshop.root / "out").mkdir()
    results = workshop.root / "out" / "results.json"
    results.write_text(json.dumps({"name": "roses", "plan_digest": "a" * 64}), encoding="utf-8")
    assert_refused(compare(workshop, PLAN), "results of another plan (roses, aaaaaaaaaaaa)", "--output-dir")
    assert results.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("results.json", content) for content in (b"{", b"[]", b"\xff")),
        *(("sessions.json", content) for content in (b"{", b"3", b'["a"]', b'[{"wall_s": 1}]', b"\xff")),
    ],
)
def test_a_folder_with_a_broken_record(workshop: Workshop, name: str, content: bytes) -> None:
    (workshop.root / "out").mkdir()
    (workshop.root / "out" / name).write_bytes(content)
    assert_refused(compare(workshop, PLAN), name, "--output-dir")
    assert (workshop.root / "out" / name).read_bytes() == content


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_a_device_that_is_not_there(workshop: Workshop) -> None:
    assert_refused(compare(workshop, PLAN, "--device", "cuda"), "'cuda'", "leave --device out")
    assert not (workshop.root / "out").exists()


@pytest.mark.parametrize("name", ["kinds-small.toml", "recipes/kinds-small.toml"])
def test_a_recipe_of_the_package_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["compare", name, "--set", "budgets=[5]"])
    assert_refused(result, "recipes/kinds-small.toml: budgets is [5", "between 0 and 1")


def test_neither_a_file_nor_a_recipe(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "kinds-large.toml")])
    assert_refused(result, "kinds-large.toml is neither a file nor a recipe", "kinds-small.toml")


def test_a_base_that_reads_fewer_tokens_than_a_window_has(workshop: Workshop) -> None:
    config = workshop.base / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "max_position_embeddings": 8}), encoding="utf-8")
    assert_refused(compare(workshop, PLAN), "reads at most 8 tokens")
