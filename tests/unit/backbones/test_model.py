"""The DRM decoder as a Hugging Face model: causality, caches, files, what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from saint.backbones import DrmConfig, DrmForCausalLM
from saint.errors import ConfigError, DataError
from saint.models import freeze

VOCAB = 61
SMALL: dict[str, Any] = {"vocab_size": VOCAB, "d_model": 24, "n_layers": 2, "n_heads": 2, "d_ff": 40}
SMALL |= {"max_seq_len": 64, "d_manifold": 6, "metric_hidden": 24}
VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "no gravity": {"gravity_enabled": False},
    "no gamma": {"gamma_enabled": False},
    "no gate": {"variable_dim": False},
    "not flat": {"d_flat": 0},
    "tiles": {"d_manifold": 22},
    "narrow": {"d_manifold": 4, "metric_rank": 1},
}


def a_model(variant: str = "all", *, seed: int = 0, **changes: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DrmForCausalLM(DrmConfig(**{**SMALL, **VARIANTS[variant], **changes}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def some_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), length=st.integers(2, 40), data=st.data())
def test_no_token_sees_a_later_one(variant: str, seed: int, length: int, data: st.DataObject) -> None:
    model, tokens = a_model(variant, seed=seed), some_tokens(2, length, seed=seed)
    place = data.draw(st.integers(1, length - 1))
    other = tokens.clone()
    other[:, place:] = some_tokens(2, length - place, seed=seed + 1)
    with torch.no_grad():
        mine, theirs = model(input_ids=tokens).logits, model(input_ids=other).logits
    assert torch.equal(mine[:, :place], theirs[:, :place])


def test_no_gradient_comes_from_the_future() -> None:
    model = a_model().train()
    embedded = model.token_emb(some_tokens(1, 12)).detach().requires_grad_()
    model(inputs_embeds=embedded).logits[:, 5].sum().backward()
    assert embedded.grad is not None
    assert torch.count_nonzero(embedded.grad[:, 6:]) == 0
    assert torch.count_nonzero(embedded.grad[:, :6]) == embedded.grad[:, :6].numel()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant: str) -> None:
    model, tokens = a_model(variant).train(), some_tokens(2, 20)
    model(input_ids=tokens, labels=tokens).loss.backward()
    silent = {
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    assert silent == ({"anchors"} if variant == "no gamma" else set())


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


@pytest.mark.parametrize("mode", ["causal", "parity"])
@pytest.mark.filterwarnings("ignore:in mode 'parity'")
def test_what_is_saved_is_loaded_to_the_bit(mode: str, tmp_path: Path) -> None:
    model, tokens = a_model(mode=mode), some_tokens(2, 20)
    model.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is DrmForCausalLM
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    kept, found = model.state_dict(), loaded.state_dict()
    assert kept.keys() == found.keys()
    assert all(torch.equal(kept[name], found[name]) for name in kept)
    assert loaded.lm_head.weight is loaded.token_emb.weight
    assert torch.equal(loaded.eval()(input_ids=tokens).logits, model(input_ids=tokens).logits)
    assert freeze(tmp_path).identity.weights == freeze(model).identity.weights


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
def test_a_published_state_dict_loads() -> None:
    model = a_model(mode="parity")
    theirs = {**model.state_dict(), "blocks.0.attn.rope.inv_freq": torch.ones(6)}
    named = {"blocks.0.attn.q_to_manifold.weight", "blocks.1.attn.temperature", "gravity_field.mass_net.2.bias"}
    named |= {"metric_net.net.4.weight", "gravity_field.W", "dim_gate.gate_net.0.bias", "blocks.0.ffn.down_proj.weight"}
    assert named <= theirs.keys()
    missing, unexpected = a_model(mode="parity", seed=1).load_state_dict(theirs, strict=False)
    assert (missing, unexpected) == ([], ["blocks.0.attn.rope.inv_freq"])


def test_heads_are_born_looking_back_and_the_metric_as_the_euclidean_one() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DrmForCausalLM(DrmConfig(**SMALL)).eval()
    points: list[Tensor] = []
    attention: Any = model.blocks[0].attn
    evaluate = attention.evaluate
    attention.evaluate = lambda query, key, *rest, **options: (
        points.extend((query, key)) or evaluate(query, key, *rest, **options)
    )
    assert model.gravity_field is not None
    assert float(model.gravity_field.W.std()) == pytest.approx(2.0, rel=0.2)  # of 96 numbers
    tokens = some_tokens(2, 20)
    assert 0 < model(input_ids=tokens, labels=tokens).metric_size.item() < 1e-4
    assert model.dim_gate is not None
    embedded = model.token_emb(tokens)
    assert (model.dim_gate(embedded) / embedded).mean().item() == pytest.approx(0.95, abs=0.01)
    nearest = torch.cdist(*points).masked_fill(torch.ones(20, 20).triu(1).bool(), torch.inf).argmin(-1)
    for head in range(2):
        assert (nearest[:, head, 2:] == torch.arange(2, 20) - (head + 1)).all()


def test_penalties_are_part_of_the_loss() -> None:
    weights = {"metric_size_weight": 0.5, "orthogonality_weight": 0.25, "spread_weight": 0.125}
    model, tokens = a_model(**weights), some_tokens(2, 20)
    found = model(input_ids=tokens, labels=tokens)
    added = 0.5 * found.metric_size + 0.25 * found.orthogonality + 0.125 * found.spread
    assert added > 0.1
    torch.testing.assert_close(found.loss, found.cross_entropy + added)
    assert model(input_ids=tokens).loss is None


def test_checkpointed_blocks_give_equal_gradients() -> None:
    tokens, found = some_tokens(2, 20), []
    for recompute in (False, True):
        model = a_model(use_cache=False).train()
        if recompute:
            model.activation_checkpointing_enable()
        model(input_ids=tokens, labels=tokens).loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_answer_close_to_wide_ones(dtype: torch.dtype) -> None:
    model, tokens = a_model(), some_tokens(2, 20)
    right = model(input_ids=tokens).logits
    with torch.autocast("cpu", dtype=dtype):
        cast = model(input_ids=tokens).logits
    narrow = model.to(dtype)(input_ids=tokens).logits
    assert narrow.dtype == dtype
    for found in (cast, narrow):
        assert (found.float() - right).norm() / right.norm() < 0.05


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_model": 25}, "d_model is 25, which 2 heads do not divide; take a multiple of n_heads, such as 24"),
        ({"d_manifold": 5}, "d_manifold is 5, but positions turn pairs of dimensions; make it even"),
        ({"n_heads": 8, "mode": "parity"}, "d_model / n_heads is 3, but positions turn pairs of dimensions"),
        ({"d_flat": -1}, "d_flat is -1; it must not be negative"),
        ({"d_flat": 4, "mode": "parity"}, "d_flat is 4, but what is published has none; leave it out"),
        ({"d_manifold": 0}, "d_manifold is 0; it must be at least 1"),
        ({"mode": "parity", "use_cache": True}, "use_cache is true, but in mode 'parity'"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        DrmConfig(**{**SMALL, **changes})
    assert "\n" not in str(caught.value)


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match="token 61 came to a model whose vocabulary has 61 tokens, from 0 on; take the"):
        a_model()(input_ids=torch.tensor([[1, 61]]))


def test_tiles_are_chosen_where_features_are_too_wide_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    from saint.backbones import _attention

    _attention._say_tiles.cache_clear()
    for _ in range(2):
        a_model("tiles")
    a_model(d_manifold=20)
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("d_manifold is 22, whose 280 features are wider than the 256 that fused attention takes; ")


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
def test_parity_refuses_what_it_cannot_do() -> None:
    model, tokens = a_model(mode="parity"), some_tokens(2, 10)
    with pytest.raises(ConfigError, match="cannot keep keys and values"):
        model(input_ids=tokens, use_cache=True)
    with pytest.raises(ConfigError, match="some are padded"):
        model(input_ids=tokens, attention_mask=(tokens > 3).long())
    ones = torch.ones_like(tokens)
    assert model.generate(tokens, attention_mask=ones, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (
        2,
        13,
    )
