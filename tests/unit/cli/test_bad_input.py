"""What a user may get wrong: one sentence that says what was expected, what came and what to do; an exit status."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.cli.main import main
from saint.testing import write_font
from workshop import Workshop


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result: Result, status: int, *words: str) -> None:
    assert result.exit_code == status, (result.output, result.exception)
    said = result.stderr.strip().splitlines()
    assert said, "nothing was said"
    assert said[-1].startswith("saint: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in said[-1]


def init(workshop: Workshop, *more: object) -> Result:
    return run("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan, *more)


def assert_nothing_was_made(workshop: Workshop) -> None:
    assert not workshop.registry.exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_steps = 24", "num_stpes = 24", ("num_stpes", "did you mean 'num_steps'")),
        ("[gates.gain]", "[gates.gian]", ("gian", "did you mean 'gain'")),
        ('kind = "block"', 'kind = "blok"', ("blok", "did you mean 'block'")),
        ("options = { width = 4 }", "options = { widht = 4 }", ("widht", "did you mean 'width'")),
        ('bundle = "site"', 'roles = ["qk"]', ("qk", "block")),
        ("num_params = 4000", "num_params = 10", ("10 parameters", "cheapest")),
        ("rounds = 2", "rounds = 0", ("rounds", "at least 1")),
        ("rounds = 2", 'rounds = "two"', ("rounds", "a whole number", "'two'")),
        ("rounds = 2", "rounds = [", ("not valid TOML",)),
        ('prepared = "text"', 'prepared = "texts"', ("texts", "not prepared data")),
    ],
)
def test_a_plan_that_cannot_be_meant(workshop: Workshop, old: str, new: str, words: Sequence[str]) -> None:
    plan = workshop.plan.read_text(encoding="utf-8")
    assert old in plan
    workshop.plan.write_text(plan.replace(old, new, 1), encoding="utf-8")
    assert_refused(init(workshop), 2, *words)
    assert_nothing_was_made(workshop)


def test_no_base_there(workshop: Workshop) -> None:
    shutil.rmtree(workshop.base)
    assert_refused(init(workshop), 2, "is not a folder")
    assert_nothing_was_made(workshop)


def test_text_cut_by_another_tokenizer(workshop: Workshop) -> None:
    file = workshop.base / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-1]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    assert_refused(init(workshop), 1, "tokenizer", "prepare the text again")
    assert_nothing_was_made(workshop)


def test_a_registry_is_not_made_over_something(workshop: Workshop) -> None:
    workshop.registry.mkdir()
    (workshop.registry / "letters.txt").write_text("mine", encoding="utf-8")
    assert_refused(init(workshop), 2, "exists already")
    assert [file.name for file in workshop.registry.iterdir()] == ["letters.txt"]


@pytest.mark.parametrize("command", ["status", "log", "grow", "verify", "report", "blame"])
def test_a_folder_that_is_no_registry(tmp_path: Path, command: str) -> None:
    (tmp_path / "letters.txt").write_text("mine", encoding="utf-8")
    assert_refused(run(command, tmp_path), 2, "is not a registry", "saint init")
    assert [file.name for file in tmp_path.iterdir()] == ["letters.txt"]


def test_a_registry_of_a_newer_version(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    marker = workshop.registry / "registry.json"
    marker.chmod(0o644)
    marker.write_text(json.dumps({"format": 99, "hash": "sha256"}), encoding="utf-8")
    assert_refused(run("status", workshop.registry), 3, "format 99", "update saint-g")


def test_another_base_by_one_flipped_bit(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    file = workshop.base / "model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name].view(-1).view(dtype=__import__("torch").int32)[0] ^= 1
    save_file(weights, file, metadata={"format": "pt"})
    assert_refused(run("grow", workshop.registry), 1, "weights", "another base")
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_another_base_by_its_tokenizer(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    file = workshop.base / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"][-2:] = tokenizer["model"]["merges"][:-3:-1]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    assert_refused(run("grow", workshop.registry), 1, "has tokenizer", "another base")
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_another_base_by_its_numbers(workshop: Workshop) -> None:
    """The same name and the same weights, in half as many bits."""
    assert init(workshop).exit_code == 0
    file = workshop.base / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert_refused(run("grow", workshop.registry), 1, "has weights with digest", "another base")
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_another_text(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    shard = next((workshop.root / "text" / "prose" / "train").glob("*.npy"))
    shard.write_bytes(shard.read_bytes()[:-2])
    assert_refused(run("grow", workshop.registry), 2, "not the file that was prepared")
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_a_graft_that_does_not_exist(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    assert_refused(run("rollback", workshop.registry, "abcdef", "--reason", "x"), 2, "abcdef", "none")
    assert_refused(run("show", workshop.registry, "abcdef"), 2, "abcdef")
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_exporting_nothing(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    out = workshop.root / "out"
    assert_refused(
        run("export", workshop.registry, "--format", "lora", "--output-dir", out), 2, "standing has no grafts"
    )
    assert not out.exists()


def test_a_changed_entry_is_found(workshop: Workshop) -> None:
    assert init(workshop).exit_code == 0
    entry = workshop.registry / "log" / "000000" / "000000000.json"
    entry.chmod(0o644)
    entry.write_text(entry.read_text(encoding="utf-8").replace('"tiny"', '"tidy"'), encoding="utf-8")
    shutil.copy(entry, entry.with_name("000000002.json"))
    assert_refused(run("verify", workshop.registry), 1, "chain breaks")


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ('["nothing-*.txt"]', ("nothing-*.txt", "no such file")),
        ('["empty.txt"]', ("no documents that are not empty",)),
        ('["few.jsonl"]', ("needs 4", "more documents")),
        ('["broken.jsonl"]', ("broken.jsonl:1", "not JSON")),
        ('["embedded:poetry"]', ("embedded:code",)),
    ],
)
def test_text_that_cannot_be_used(tmp_path: Path, sources: str, words: Sequence[str]) -> None:
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "few.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text("{text: one}\n", encoding="utf-8")
    plan = tmp_path / "data.toml"
    plan.write_text(f'[domains.letters]\nrole = "grow"\nsources = {sources}\n', encoding="utf-8")
    assert_refused(run("data", "prepare", plan, "--output-dir", tmp_path / "out"), 2, *words)
    assert not (tmp_path / "out").exists()


def test_a_base_plan_whose_interface_cannot_be_made(workshop: Workshop) -> None:
    plan, out = workshop.root / "base.toml", workshop.root / "new-base"
    sizes = "hidden_size = 16\nnum_attention_heads = 2\nnum_hidden_layers = 1\n"
    write_font(workshop.root / "half.hex", map(chr, range(0x70)))
    for font, interface, words in (
        ("half.hex", 'interface = "glyph"', "half.hex lacks a character of"),
        ("none.hex", 'interface = "glyph"', "none.hex cannot be read as a bitmap font"),
        ("half.hex", 'interface = "binary"', "interface binary draws no tokens"),
        ("", 'interface = "random_binary"\ninterface_options = { num_bits = 4 }', "a code of 4 bits names 16 tokens"),
    ):
        head = f'architecture = "saint_layered"\ndomain = "code"\nfont = "{font}"\n[model]\n'
        plan.write_text(head + sizes + interface, encoding="utf-8")
        assert_refused(run("train", plan, "--data", workshop.root / "text", "--output-dir", out), 2, words)
        assert not out.exists()


def test_experts_above_other_interfaces(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    for name in ("binary", "random_binary"):
        LayeredForCausalLM(LayeredConfig(**sizes, interface=name)).save_pretrained(tmp_path / name)
    out = tmp_path / "both"
    refused = run("mix", tmp_path / "binary", tmp_path / "random_binary", "--output-dir", out)
    assert_refused(refused, 2, "random_binary has the frozen interface", "which binary has")
    assert not out.exists()


def test_a_base_plan_with_a_wrong_setting(workshop: Workshop) -> None:
    plan = workshop.root / "base.toml"
    plan.write_text('domain = "code"\n[model]\nhiden_size = 16\n', encoding="utf-8")
    out = workshop.root / "new-base"
    refused = run("train", plan, "--data", workshop.root / "text", "--output-dir", out)
    assert_refused(refused, 2, "hiden_size", "did you mean 'hidden_size'")
    assert not out.exists()
