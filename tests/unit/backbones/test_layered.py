"""The layered decoder as a Hugging Face model: counts, causality, caches, files, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from saint.backbones import LAYERED_SIZES, LayeredConfig, LayeredForCausalLM, layered_config, layered_model
from saint.errors import BaseChangedError, ConfigError, DataError, UnknownNameError
from saint.interfaces import FrozenTable, Sources
from saint.models import freeze
from saint.testing import write_font

VOCAB = 61
SMALL: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"max_position_embeddings": 64}
VARIANTS: dict[str, dict[str, Any]] = {
    "binary": {},
    "no norm": {"final_norm": False},
    "learned": {"interface": "learned"},
    "gaussian": {"interface": "gaussian"},
    "tied": {"head": "tied", "interface": "random_binary", "interface_options": {"coding": "bits"}},
    "tied to what learns": {"head": "tied", "interface": "learned"},
    "low rank": {"head": "low_rank", "head_rank": 5, "intermediate_size": 40},
}


def a_model(variant: str = "binary", *, seed: int = 0, **changes: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LayeredForCausalLM(LayeredConfig(**{**SMALL, **VARIANTS[variant], **changes}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def some_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def on_paper(name: str) -> Any:
    with torch.device("meta"):
        return LayeredForCausalLM(layered_config(name))


def num_trainable(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def num_stored(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("name", "trainable", "stored"),
    [
        ("stage-3", 104_950_784, None),
        ("study-9", 180_503_552, 181_552_128),
        ("study-9-learned", 247_612_416, 247_612_416),
        ("long-16", None, 269_697_024),
    ],
)
def test_published_counts_come_out_to_the_unit(name: str, trainable: int | None, stored: int | None) -> None:
    model = on_paper(name)
    assert trainable in (None, num_trainable(model))
    assert stored in (None, num_stored(model))


@pytest.mark.parametrize(("depth", "billions"), [*enumerate((1.3, 1.5, 1.7, 1.9, 2.1, 2.3), start=1)])
def test_the_series_of_growing_models_counts_as_published(depth: int, billions: float) -> None:
    model = on_paper(f"series-{depth}")
    matrices = sum(tensor.numel() for tensor in model.state_dict().values() if tensor.ndim == 2)
    assert matrices == 2 * 131072 * 4096 + 12 * depth * 4096**2
    assert round(num_stored(model) / 1e9, 1) == billions


def test_sizes_have_names() -> None:
    assert all(layered_config(name).num_hidden_layers >= 1 for name in LAYERED_SIZES)
    assert layered_config("study-9", head="low_rank", head_rank=64).head_rank == 64
    with pytest.raises(UnknownNameError, match="no layered size is called 'study-8'; there are stage-3, study-9, "):
        layered_config("study-8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_token_sees_a_later_one(variant: str) -> None:
    model, tokens = a_model(variant), some_tokens(2, 20)
    other = tokens.clone()
    other[:, 11:] = some_tokens(2, 9, seed=1)
    with torch.no_grad():
        mine, theirs = model(input_ids=tokens).logits, model(input_ids=other).logits
    assert torch.equal(mine[:, :11], theirs[:, :11])
    assert not torch.equal(mine[:, 11:], theirs[:, 11:])


def test_it_computes_what_its_description_says() -> None:
    """Written out with whole matrices: norms, heads, rotations, softmax, GELU, and a head with a bias."""
    model, tokens = a_model().double(), some_tokens(1, 9)
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turned(x: Tensor, position: int) -> Tensor:
        planes = torch.view_as_complex(torch.stack((x[..., :6], x[..., 6:]), dim=-1))
        angles = position * 10000.0 ** (-torch.arange(6, dtype=torch.float64) / 6)
        found = torch.view_as_real(planes * torch.exp(1j * angles))
        return torch.cat((found[..., 0], found[..., 1]), dim=-1)

    bits = torch.tensor([[token >> (5 - column * 6 // 24) & 1 for column in range(24)] for token in tokens[0].tolist()])
    stream = 2.0 * bits.double() - 1
    for block in (f"model.layers.{index}" for index in range(2)):
        x = norm(stream, f"{block}.input_layernorm")
        heads = {letter: (x @ weights[f"{block}.self_attn.{letter}_proj.weight"].T).view(9, 2, 12) for letter in "qkv"}
        query, key = (
            torch.stack([turned(heads[letter][place], place) for place in range(9)]).transpose(0, 1) for letter in "qk"
        )
        scores = query @ key.mT / 12**0.5
        mixed = scores.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(-1) @ heads["v"].transpose(0, 1)
        stream = stream + mixed.transpose(0, 1).reshape(9, 24) @ weights[f"{block}.self_attn.o_proj.weight"].T
        x = norm(stream, f"{block}.post_attention_layernorm")
        up = x @ weights[f"{block}.mlp.up_proj.weight"].T + weights[f"{block}.mlp.up_proj.bias"]
        up = up * (1 + torch.erf(up / 2**0.5)) / 2
        stream = stream + up @ weights[f"{block}.mlp.down_proj.weight"].T + weights[f"{block}.mlp.down_proj.bias"]
    right = norm(stream, "model.norm") @ weights["lm_head.weight"].T + weights["lm_head.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=tokens).logits[0], right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("interface", ["binary", "learned", "gaussian"])
def test_a_tied_head_takes_products_with_the_rows_that_came_in(interface: str) -> None:
    model, tokens = a_model(head="tied", interface=interface), some_tokens(2, 7)
    answer = model(input_ids=tokens, output_hidden_states=True)
    table = model.get_input_embeddings()
    rows = table.lifted() if isinstance(table, FrozenTable) else table.weight
    right = answer.hidden_states[-1] @ rows.T / 24**0.5 + model.lm_head.bias
    torch.testing.assert_close(answer.logits, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant: str) -> None:
    model, tokens = a_model(variant).train(), some_tokens(2, 20)
    model(input_ids=tokens, labels=tokens).loss.backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_cache_gives_what_the_whole_row_gives(variant: str, chunk: int) -> None:
    model, tokens = a_model(variant).double(), some_tokens(2, 24)
    with torch.no_grad():
        whole = model(input_ids=tokens).logits
        answer = model(input_ids=tokens[:, :12], use_cache=True)
        found = [answer.logits]
        for start in range(12, 24, chunk):
            answer = model(input_ids=tokens[:, start : start + chunk], past_key_values=answer.past_key_values)
            found.append(answer.logits)
    assert torch.allclose(torch.cat(found, dim=1), whole, rtol=0, atol=1e-12)


def test_generation_writes_the_same_with_and_without_a_cache() -> None:
    model, prompt = a_model(), some_tokens(3, 10)
    asked = {"max_new_tokens": 20, "do_sample": False, "attention_mask": torch.ones_like(prompt), "pad_token_id": 0}
    cached = model.generate(prompt, use_cache=True, **asked)
    assert cached.shape == (3, 30)
    assert torch.equal(cached, model.generate(prompt, use_cache=False, **asked))
    beams = model.generate(prompt, num_beams=2, use_cache=True, **asked)
    assert torch.equal(beams, model.generate(prompt, num_beams=2, use_cache=False, **asked))


def test_padding_on_the_left_changes_nothing() -> None:
    model, tokens = a_model().double(), some_tokens(1, 12)
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), tokens), dim=1)
    mask = torch.cat((torch.zeros(1, 4), torch.ones(1, 12)), dim=1).long()
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        found = model(input_ids=padded, attention_mask=mask, position_ids=places).logits[:, 4:]
        assert torch.allclose(found, model(input_ids=tokens).logits, rtol=0, atol=1e-12)


def test_only_distances_between_positions_matter() -> None:
    model, tokens = a_model().double(), some_tokens(2, 20)
    places = torch.arange(20)[None]
    with torch.no_grad():
        here, there = (model(input_ids=tokens, position_ids=places + by).logits for by in (0, 1000))
        elsewhere = model(input_ids=tokens, position_ids=2 * places).logits
    assert torch.allclose(here, there, rtol=0, atol=1e-10)
    assert not torch.allclose(here, elsewhere, rtol=0, atol=1e-3)


def test_embedded_tokens_can_be_handed_over() -> None:
    model, tokens = a_model(), some_tokens(2, 9)
    embedded = model.get_input_embeddings()(tokens)
    assert torch.equal(model(inputs_embeds=embedded).logits, model(input_ids=tokens).logits)
    with pytest.raises(ConfigError, match="expected either input_ids or inputs_embeds, got both or neither"):
        model()


def test_checkpointed_blocks_give_equal_gradients() -> None:
    tokens, found = some_tokens(2, 20), []
    for recompute in (False, True):
        model = a_model(use_cache=False).train()
        if recompute:
            model.activation_checkpointing_enable()
        model(input_ids=tokens, labels=tokens).loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_answer_close_to_wide_ones(variant: str, dtype: torch.dtype) -> None:
    model, tokens = a_model(variant), some_tokens(2, 20)
    right = model(input_ids=tokens).logits
    with torch.autocast("cpu", dtype=dtype):
        cast = model(input_ids=tokens).logits
    narrow = model.to(dtype)(input_ids=tokens).logits
    assert narrow.dtype == dtype
    for found in (cast, narrow):
        assert (found.float() - right).norm() / right.norm() < 0.05


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_is_loaded_to_the_bit(variant: str, tmp_path: Path) -> None:
    model, tokens = a_model(variant), some_tokens(2, 20)
    model.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is LayeredForCausalLM
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    kept, found = model.state_dict(), loaded.state_dict()
    assert kept.keys() == found.keys()
    assert all(torch.equal(kept[name], found[name]) for name in kept)
    assert torch.equal(loaded.eval()(input_ids=tokens).logits, model(input_ids=tokens).logits)
    assert freeze(tmp_path).identity == freeze(model).identity


def test_a_frozen_table_is_stored_as_its_code_and_stays_so_in_any_dtype(tmp_path: Path) -> None:
    model = a_model()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")["model.embed_tokens.code"]
    assert (stored.shape, stored.dtype) == ((VOCAB, 6), torch.uint8)
    narrow: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert narrow.get_input_embeddings().digest() == model.config.interface_digest


@pytest.mark.parametrize("change", ["weights", "configuration", "digest left out"])
def test_a_table_with_another_digest_is_refused(change: str, tmp_path: Path) -> None:
    a_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    if change == "weights":
        weights = load_file(tmp_path / "model.safetensors")
        weights["model.embed_tokens.code"][3, 2] ^= 1
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    elif change == "configuration":
        config["interface_options"] = {"coding": "bits"}
    else:
        config["interface_digest"] = None
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for load in (AutoModelForCausalLM.from_pretrained, freeze):
        with pytest.raises(BaseChangedError, match=r"the token interface has digest \w{12}, and the configuration"):
            load(tmp_path)


def test_a_new_model_is_not_made_with_another_table_than_its_configuration_says() -> None:
    config = a_model().config
    assert LayeredForCausalLM(LayeredConfig(**config.to_dict())).config.interface_digest == config.interface_digest
    with pytest.raises(BaseChangedError, match=r"interface binary makes a table with digest \w{12} here, and the"):
        LayeredForCausalLM(LayeredConfig(**{**config.to_dict(), "interface_options": {"permutation_seed": 1}}))


def test_a_learned_table_is_frozen_without_changing_a_bit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a frozen table keeps float32, and this one is float64; convert the model"):
        a_model("learned").double().freeze_interface()
    model, tokens = a_model("learned"), some_tokens(2, 20)
    before, num_before = model(input_ids=tokens).logits, num_trainable(model)
    digest = model.freeze_interface()
    assert model.freeze_interface() == digest == model.config.interface_digest
    assert torch.equal(model(input_ids=tokens).logits, before)
    assert num_trainable(model) == num_before - VOCAB * 24
    model.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(input_ids=tokens).logits, before)
    narrow: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert narrow.get_input_embeddings().digest() == digest
    model.to(torch.bfloat16)
    unfrozen = a_model("learned").to(torch.bfloat16)
    assert torch.equal(narrow(input_ids=tokens).logits, unfrozen(input_ids=tokens).logits)


def test_glyphs_are_made_once_and_loaded_without_the_font(tmp_path: Path) -> None:
    tokens = [chr(ord("0") + number) for number in range(VOCAB)]
    font = write_font(tmp_path / "made-up.hex", "".join(tokens))
    config = LayeredConfig(**SMALL, interface="glyph", interface_options={"cell": 8})
    model = layered_model(config, Sources(tokens=tokens, font=font)).eval()
    assert model.config.interface_facts["font"] == "made-up.hex"
    model.save_pretrained(tmp_path / "model")
    font.unlink()
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.config.interface_facts == model.config.interface_facts
    assert torch.equal(loaded(input_ids=some_tokens(1, 9)).logits, model(input_ids=some_tokens(1, 9)).logits)
    with pytest.raises(DataError, match="0 texts of tokens came for a vocabulary of 61"):
        LayeredForCausalLM(LayeredConfig(**SMALL, interface="glyph"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 25}, "hidden_size is 25, which 2 heads do not divide; take a multiple of num_attention_heads"),
        ({"num_attention_heads": 8}, "a head has 3 dimensions, but positions turn pairs of dimensions; make hidden"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be at least 1"),
        ({"intermediate_size": -3}, "intermediate_size is -3; it must be at least 1"),
        ({"head": "low_rank"}, "head_rank is 0; a head of low rank needs one from 1 to hidden_size, 24"),
        ({"head_rank": 4}, "head_rank is 4, but a head that is untied has no rank to choose; leave it out, or take"),
        ({"interface": "bianry"}, "did you mean 'binary'"),
        ({"interface_options": {"num_bits": 5}}, "a code of 5 bits names 32 tokens, and the vocabulary has 61; take"),
        ({"vocab_size": 1 << 30}, "the code of a token has 30 numbers, more than the model's width of 24"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        LayeredConfig(**{**SMALL, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variant", ["binary", "learned"])
def test_a_token_outside_the_vocabulary_is_refused(variant: str) -> None:
    with pytest.raises(DataError, match="token 61 came to a model whose vocabulary has 61 tokens, from 0 on; take the"):
        a_model(variant)(input_ids=torch.tensor([[1, 61]]))


def test_only_tables_stand_at_the_entrance_and_none_is_enlarged() -> None:
    model = a_model()
    model.set_input_embeddings(nn.Embedding(VOCAB, 24))
    assert model(input_ids=some_tokens(1, 4)).logits.shape == (1, 4, VOCAB)
    with pytest.raises(ConfigError, match=r"expected a table of saint.interfaces or an embedding, got Linear"):
        model.set_input_embeddings(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="interface binary has the rows of 61 tokens and no others; make a model"):
        model.resize_token_embeddings(70)
