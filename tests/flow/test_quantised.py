"""Growth on a base of few bits: the ledger says which bits, and opening the registry makes the same ones again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

import saint
from saint import config
from saint.cli._opening import open_base
from saint.cli.exporting import export_stack
from saint.cli.main import main
from saint.composition import logits_digest
from saint.errors import BaseChangedError
from saint.growth import Plan, open_data, start
from saint.models import FrozenBase
from saint.registry import Registry
from saint.report import summarise, to_html
from saint.testing import assert_base_untouched, assert_same_function
from small_bases import small_model
from workshop import Workshop, build_workshop

pytest.importorskip("torchao", reason="the extra `quant` is not installed")


def build(root: Path) -> Workshop:
    return build_workshop(root, model=small_model("llama", vocab_size=300, width=64, inner=128))


class Grown:
    """A registry that has grown on a base of 8 bits."""

    def __init__(self, workshop: Workshop) -> None:
        self.base: FrozenBase = saint.freeze(workshop.base, quantize="int8")
        self.plan = config.load(
            workshop.plan, Plan, overrides=["rounds=1", "candidates_per_round=1", "gates.gain.at_least_bpb=-1.0"]
        )
        self.registry: Registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data = open_data(self.registry, self.plan, self.base)
        saint.grow(self.base, self.data, self.plan, self.registry)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(build(tmp_path_factory.mktemp("quantised")))


def test_opening_quantises_again_and_compares(grown: Grown) -> None:
    assert grown.registry.state.created["base"]["identity"]["quantization"] == "int8"
    assert grown.registry.state.created["versions"]["torchao"] != "not installed"
    again = open_base(grown.registry)
    assert again.identity == grown.base.identity
    model = saint.compose(again, saint.restore(grown.registry))
    assert logits_digest(model) == grown.registry.accepted()[-1].evidence.logits
    assert_base_untouched(grown.base)


def test_a_weight_that_changes_its_quantised_bytes_is_noticed(grown: Grown, tmp_path: Path) -> None:
    moved = shutil.copytree(grown.base.source, tmp_path / "base")
    weights = load_file(moved / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] *= 1.5
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseChangedError, match="weights with digest"):
        open_base(grown.registry, str(moved))


@pytest.mark.slow
def test_a_base_in_few_bits_is_not_the_one_in_full(tmp_path: Path) -> None:
    """Whoever quantises a registry's base and gives that has another base, though its name is the same."""
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    workshop = build(tmp_path)
    workshop.init()
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    few = AutoModelForCausalLM.from_pretrained(workshop.base, quantization_config=settings)
    few.save_pretrained(tmp_path / "few" / "base")
    AutoTokenizer.from_pretrained(workshop.base).save_pretrained(tmp_path / "few" / "base")
    arguments = ["grow", str(workshop.registry), "--base", str(tmp_path / "few" / "base")]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1, refused.output
    assert "this registry is about another base" in refused.stderr
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def test_lora_on_it_is_a_control_and_training_the_whole_of_it_is_not(grown: Grown) -> None:
    controls = {control["name"]: control for control in grown.registry.state.controls}
    assert controls["lora"]["num_params"] > 0
    assert "weights of few bits do not learn" in controls["full"]["failure"]
    [measured] = grown.registry.state.measured
    assert {arm["name"] for arm in measured["arms"]} == {"grafts", "lora"}


def test_the_report_says_how_the_base_is_stored(grown: Grown) -> None:
    assert "parameters, int8" in to_html(summarise(grown.registry))


def test_the_merged_model_is_plain_and_says_what_was_judged(grown: Grown, tmp_path: Path) -> None:
    record = export_stack(grown.registry, grown.base, "merged", tmp_path / "merged")
    assert record["max_abs_logit_difference"] < 1e-4
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}
    composed = saint.compose(grown.base, saint.restore(grown.registry))
    assert_same_function(plain, composed, max_abs_difference=1e-4)


def test_an_exported_adapter_says_the_same_on_it(grown: Grown, tmp_path: Path) -> None:
    record = export_stack(grown.registry, grown.base, "lora", tmp_path / "lora")
    assert record["max_abs_logit_difference"] < 1e-4


def test_a_map_that_cannot_be_quantised_is_one_sentence(workshop: Workshop) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    arguments = ["init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan, "--quantize", "nf4"]
    refused = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("saint: ")
    assert "inputs, and nf4 needs a multiple of 64" in refused.stderr
    assert not workshop.registry.exists()


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path) -> None:
    workshop = build(tmp_path)
    brief = ["--set", "rounds=1", "--set", "candidates_per_round=1", "--set", "controls.after=never"]
    arguments = [workshop.registry, "--base", workshop.base, "--plan", workshop.plan, "--quantize", "int8", *brief]
    command = [sys.executable, "-m", "saint.cli", "init", *map(str, arguments)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stderr == "", "what torchao misses is not the user's business"
    grown = workshop.saint("grow", workshop.registry)
    assert grown.returncode == 0, grown.stderr
    recomposed = workshop.saint("verify", workshop.registry, "--recompose")
    assert recomposed.returncode == 0, recomposed.stdout
    status = json.loads(workshop.saint("status", workshop.registry, "--json").stdout)
    assert status["stack"]
    assert status["base"]["identity"]["quantization"] == "int8"
