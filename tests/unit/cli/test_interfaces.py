"""What `saint interface` lists and shows, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from saint import discovery
from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.cli.main import main
from saint.data import train_tokenizer
from saint.testing import tiny_base, write_font


def interface(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["interface", *map(str, arguments)])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    sizes: dict[str, Any] = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    LayeredForCausalLM(LayeredConfig(**sizes)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_all_interfaces_are_listed_with_their_options() -> None:
    rows = json.loads(interface("list", "--json").stdout)
    assert [row["interface"] for row in rows] == discovery.names("interfaces")
    assert all(row["summary"] and row["reference"] and row["description"] for row in rows)
    [binary] = [row for row in rows if row["interface"] == "binary"]
    assert {"name": "coding", "default": "signs"} in binary["options"]
    told = interface("list").stdout
    assert all(name in told for name in discovery.names("interfaces"))


def test_a_table_is_shown_before_there_is_a_model(saved: Path) -> None:
    of_name = json.loads(interface("show", "binary", "--vocab-size", 61, "--width", 24, "--json").stdout)
    of_model = json.loads(interface("show", saved, "--json").stdout)
    assert of_name == of_model
    expected = {"rank": 6, "is_injective": True, "num_collisions": 0, "vocab_size": 61, "d_model": 24}
    expected |= {"num_columns": 6, "num_bytes": 366}
    assert {key: of_name[key] for key in expected} == expected
    assert of_name["norm_min"] == of_name["norm_max"] == pytest.approx(24**0.5)
    told = interface("show", saved).stdout
    assert of_name["digest"] in told
    assert "61 tokens, width 24; 6 numbers for each, 366 bytes" in told


def test_options_are_set_and_collisions_are_told() -> None:
    line = ("show", "binary", "--vocab-size", 64, "--width", 24, "--set", "dropped_bits=1", "--set", "coding=bits")
    found = json.loads(interface(*line, "--json").stdout)
    assert (found["num_collisions"], found["options"]) == (32, {"dropped_bits": 1, "coding": "bits"})
    assert "no, 32 tokens are as an earlier one" in interface(*line).stdout


def test_glyphs_are_drawn_from_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["the cat sat on the mat " * 20], vocab_size=270)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    font = write_font(tmp_path / "made-up.hex", map(chr, (*range(33, 400), *range(0x2400, 0x2422))))
    line = ("show", "glyph", "--tokenizer", tmp_path / "tokenizer", "--width", 32, "--font", font, "--set", "cell=8")
    found = json.loads(interface(*line, "--json").stdout)
    assert found["facts"]["font"] == "made-up.hex"
    assert found["vocab_size"] == len(tokenizer)
    told = interface(*line).stdout
    assert found["facts"]["font_digest"] in told
    assert "num missing:" in told


def test_any_models_embeddings_are_shown(tmp_path: Path) -> None:
    base = tiny_base()
    base.model.save_pretrained(tmp_path)
    found = json.loads(interface("show", tmp_path, "--json").stdout)
    assert (found["interface"], found["digest"], found["vocab_size"]) == ("learned", None, 300)
    assert found["rank"] == torch.linalg.matrix_rank(base.model.get_input_embeddings().weight)  # type: ignore[arg-type]
    assert "none, it learns" in interface("show", tmp_path).stdout


def test_a_model_with_another_table_than_it_says_is_a_failed_check(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["model.embed_tokens.code"][3, 2] ^= 1
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    result = interface("show", saved)
    assert result.exit_code == 1
    assert "saint: the token interface has digest " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("binary",), "A table to be made needs --width, and --vocab-size or --tokenizer."),
        (("binary", "--width", 8, "--vocab-size", 300), "the code of a token has 9 numbers, more than the model's"),
        (("binary", "--width", 8, "--vocab-size", 9, "--set", "bits=3"), "has no key 'bits'"),
        (("nowhere/at/all",), "nowhere/at/all is not a folder"),
        (("./binary", "--width", 8), "A saved model needs no options; leave them out"),
        (("glyph", "--width", 8, "--vocab-size", 9), "0 texts of tokens came for a vocabulary of 9"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments: tuple[object, ...], words: str) -> None:
    result = interface("show", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
