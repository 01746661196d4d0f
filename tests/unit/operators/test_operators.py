"""What each operator does to which weights, held against the papers' own words; what cannot be grown is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from saint.backbones import LayeredConfig, layered_model
from saint.cli.main import main
from saint.composition import probe_logits
from saint.errors import BaseModelError, ConfigError, UnknownNameError
from saint.models import freeze
from saint.operators import build_operator, expand
from saint.testing import tiny_base
from small_bases import small_model

Weights = Mapping[str, torch.Tensor]
ROUNDING = 1e-5


def grown(model: Any, operator: str, *, seed: int = 0, **settings: Any) -> Any:
    return expand(model, build_operator(operator, settings), seed=seed)


def block(model: Any, place: int) -> Weights:
    found: Weights = model.model.layers[place].state_dict()
    return found


def assert_same(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], *, but: tuple[str, ...] = ()
) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == list(but)


def test_a_stack_is_the_blocks_again_in_their_order() -> None:
    small = tiny_base().model
    found = grown(small, "g_stack", times=2)
    assert found.model.config.num_hidden_layers == 4
    for place in range(4):
        assert_same(block(found.model, place), block(small, place % 2))
    assert found.new_blocks == (2, 3)
    assert torch.equal(found.model.model.norm.weight, small.model.norm.weight)
    assert found.model.lm_head.weight is found.model.model.embed_tokens.weight, "tied as before"


def test_a_stack_learns_its_copies_apart() -> None:
    found = grown(tiny_base().model, "g_stack", times=2)
    weights = list(found.model.parameters())
    assert len({weight.data_ptr() for weight in weights}) == len(weights)
    assert all(weight.requires_grad for weight in weights)


def test_llama_pro_puts_a_silent_copy_after_each_group() -> None:
    small = tiny_base().model
    found = grown(small, "llama_pro", groups=2)
    assert found.new_blocks == (1, 3)
    for place, old in ((0, 0), (2, 1)):
        assert_same(block(found.model, place), block(small, old))
    for place, old in ((1, 0), (3, 1)):
        silenced = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
        assert_same(block(found.model, place), block(small, old), but=silenced)
        assert not any(block(found.model, place)[name].any() for name in silenced)


def test_llama_pro_silences_biases_of_what_writes_as_well() -> None:
    settings = LlamaConfig(
        vocab_size=96,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        attention_bias=True,
        mlp_bias=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = LlamaForCausalLM(settings).eval()
        for name, weight in small.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight)
    for operator, more in (("llama_pro", {"groups": 1}), ("msg", {"groups": 1})):
        assert torch.equal(probe_logits(grown(small, operator, **more).model), probe_logits(small))
    wide = grown(small, "net2net", inner=2, heads=2)
    assert wide.difference <= ROUNDING * wide.largest_logit


def test_net2net_copies_the_way_in_and_shares_out_the_way_out() -> None:
    small = tiny_base().model
    before, after = block(small, 1), block(grown(small, "net2net", inner=1.5, seed=3).model, 1)
    up, down = after["mlp.up_proj.weight"], after["mlp.down_proj.weight"]
    assert torch.equal(up[:24], before["mlp.up_proj.weight"]), "g(j) = j for the units that were there"
    units = [int((before["mlp.up_proj.weight"] == row).all(1).nonzero()) for row in up]
    assert len(set(units)) == 24 < len(units) == 36
    for unit in range(24):
        copies = [place for place, one in enumerate(units) if one == unit]
        for place in copies:
            share = before["mlp.down_proj.weight"][:, unit] / len(copies)
            assert down[:, place] == pytest.approx(share, rel=1e-6)
            assert torch.equal(after["mlp.gate_proj.weight"][place], before["mlp.gate_proj.weight"][unit])
    other = block(grown(small, "net2net", inner=1.5, seed=3).model, 0)
    assert other["mlp.up_proj.weight"].shape == up.shape, "a checkpoint has one width"


def test_heads_come_with_the_key_and_value_that_they_share() -> None:
    small = small_model("llama").eval()
    found = grown(small, "net2net", inner=1, heads=2)
    settings = found.model.config
    assert (settings.num_attention_heads, settings.num_key_value_heads, settings.head_dim) == (8, 4, 8)
    assert found.difference <= ROUNDING * found.largest_logit
    before, after = block(small, 0), block(found.model, 0)
    assert torch.equal(after["self_attn.k_proj.weight"][:16], before["self_attn.k_proj.weight"])
    assert torch.equal(after["self_attn.q_proj.weight"][:32], before["self_attn.q_proj.weight"])


def test_copies_without_noise_learn_the_same_and_with_noise_do_not() -> None:
    tokens = torch.arange(32).view(1, 32) * 7919 % 300
    plain, noisy = (grown(tiny_base().model, "net2net", noise=noise).model for noise in (0.0, 0.1))
    up = plain.model.layers[0].mlp.up_proj.weight
    copied = [int((up[:24] == row).all(1).nonzero()) for row in up[24:]]
    apart = []
    for model in (plain, noisy):
        model(input_ids=tokens, labels=tokens).loss.backward()
        learned = model.model.layers[0].mlp.down_proj.weight.grad
        apart.append(float((learned[:, 24:] - learned[:, copied]).abs().max() / learned.abs().max()))
    assert apart[0] < 1e-5
    assert apart[1] > 1e-2


def test_masks_open_from_the_old_function_to_all_of_the_new_one() -> None:
    small = tiny_base().model
    found = grown(small, "msg", groups=1, inner=1.5, heads=2)
    assert found.masks is not None
    old, closed = probe_logits(small), probe_logits(found.model)
    found.masks.value = 0.5
    half = probe_logits(found.model)
    found.masks.value = 1.0
    opened = probe_logits(found.model)
    assert (closed - old).abs().max() <= ROUNDING * old.abs().max()
    assert (half - old).abs().max() > 1e-4
    assert (opened - half).abs().max() > 1e-4
    found.masks.fold()
    assert torch.equal(probe_logits(found.model), opened), "an open mask is none"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in found.model.modules())


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_folded_masks_are_in_the_weights(value: float) -> None:
    found = grown(tiny_base().model, "msg", groups=2, inner=1.5, heads=2)
    assert found.masks is not None
    found.masks.value = value
    masked = probe_logits(found.model)
    found.masks.fold()
    assert (probe_logits(found.model) - masked).abs().max() <= ROUNDING * masked.abs().max()
    assert bool(found.model.model.layers[0].mlp.down_proj.weight[:, 24:].any()) == bool(value)


def test_a_new_block_of_masked_growth_is_drawn_and_only_its_answers_are_masked() -> None:
    small = tiny_base().model
    found = grown(small, "msg", groups=1)
    assert found.new_blocks == (2,)
    new, before = block(found.model, 2), block(small, 1)
    assert torch.equal(new["input_layernorm.weight"], before["input_layernorm.weight"])
    for name in ("self_attn.q_proj.weight", "self_attn.o_proj.weight", "mlp.down_proj.weight"):
        assert float(new[name].std()) == pytest.approx(0.02, rel=0.3)
        assert not torch.equal(new[name], before[name])


@pytest.mark.parametrize(
    ("operator", "settings", "complaint"),
    [
        ("g_stack", {"times": 1}, "2 times or more"),
        ("llama_pro", {"groups": 0}, "at least 1"),
        ("llama_pro", {"groups": 3}, "2 blocks cannot be divided into 3 groups"),
        ("net2net", {"inner": 1}, "one of them must be above 1"),
        ("net2net", {"inner": 0.5, "heads": 2}, "inner is 0.5"),
        ("net2net", {"inner": 1.001}, "makes 24 of 24"),
        ("net2net", {"noise": -1}, "noise is -1"),
        ("net2net", {"inner": 1, "heads": 2, "noise": 0.1}, "for copies of channels"),
        ("net2net", {"heads": 3}, "no LlamaForCausalLM of these sizes"),
        ("msg", {}, "one must add something"),
        ("msg", {"groups": -1}, "groups is -1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(operator: str, settings: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        grown(tiny_base().model, operator, **settings)


@pytest.mark.parametrize(
    ("architecture", "complaint"), [("gpt2", "named as Llama's"), ("t5_relu", "2 stacks of blocks")]
)
def test_a_model_that_is_not_like_llama_is_refused(architecture: str, complaint: str) -> None:
    with pytest.raises(BaseModelError, match=complaint):
        grown(small_model(architecture), "g_stack")


def test_a_mask_is_between_closed_and_open_and_an_operator_is_one() -> None:
    found = grown(tiny_base().model, "msg", groups=1)
    with pytest.raises(ConfigError, match=r"a mask is 1\.5"):
        found.masks.value = 1.5
    with pytest.raises(UnknownNameError, match="did you mean 'g_stack'"):
        build_operator("gstack", {})


@pytest.mark.parametrize(
    ("operator", "settings"),
    [("g_stack", {}), ("llama_pro", {"groups": 2}), ("net2net", {}), ("msg", {"groups": 1, "inner": 1.5})],
)
@pytest.mark.parametrize("interface", ["binary", "learned"])
def test_a_layered_decoder_grows(tmp_path: Path, operator: str, settings: Mapping[str, Any], interface: str) -> None:
    shape = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = layered_model(LayeredConfig(**shape, interface=interface)).eval()
        for name, weight in small.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.1)
    found = grown(small, operator, **settings)
    bound = {"to the bit": 0.0, "to rounding": ROUNDING * found.largest_logit, "no": float("inf")}[found.preserves]
    assert found.difference <= bound
    if found.masks is not None:
        found.masks.fold()
    found.model.save_pretrained(tmp_path / "larger")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "larger").eval()
    assert torch.equal(probe_logits(loaded), probe_logits(found.model))
    with pytest.raises(ConfigError, match="no head_dim of its own"):
        grown(small, "net2net", heads=2)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_writes_an_ordinary_model_and_what_is_known_of_it(tmp_path: Path) -> None:
    small = tiny_base().model
    small.save_pretrained(tmp_path / "small")
    done = run(
        "expand", tmp_path / "small", "--operator", "g_stack", "--times", 2, "--out", tmp_path / "deep", "--json"
    )
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record == json.loads((tmp_path / "deep" / "expansion.json").read_text(encoding="utf-8"))
    assert (record["preserves"], record["new_blocks"], record["settings"]) == ("no", [2, 3], {"times": 2})
    assert freeze(str(tmp_path / "deep")).num_params == record["num_params"]
    wide = run("expand", tmp_path / "small", "--operator", "msg", "--set", "inner=1.5", "--out", tmp_path / "wide")
    assert "keeps the function to rounding" in wide.output
    loaded = freeze(str(tmp_path / "wide")).model
    assert (probe_logits(loaded) - probe_logits(small)).abs().max() <= ROUNDING * record["largest_logit"]
    again = run("expand", tmp_path / "small", "--operator", "g_stack", "--out", tmp_path / "wide")
    assert again.exit_code == 2
    assert "exists already" in again.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--operator", "g_stak"), "did you mean 'g_stack'"),
        (("--operator", "llama_pro", "--times", "2"), "times"),
        (("--operator", "g_stack", "--set", "times"), "expected KEY=VALUE"),
        (("--operator", "g_stack", "--set", "times=2", "--times", "3"), "each key once"),
        (("--operator", "g_stack", "--set", "times=two"), "not valid TOML"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("expand", tmp_path / "small", *arguments, "--out", tmp_path / "larger")
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert not (tmp_path / "larger").exists()
