"""Mixtures of experts: what they say, that they say it causally, and the same with a cache, padding or a file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from saint.backbones import COMBINATIONS, MixtureConfig, MixtureForCausalLM
from saint.composition import mix
from saint.errors import ConfigError, MixtureError
from small_experts import VOCAB, a_drm, a_llama, some_tokens


def a_mixture(combination: str = "posterior", *, nested: bool = True) -> Any:
    """Of unequal experts with unequal priors; a gate that has learnt something."""
    first = mix([a_llama(1, table=9), a_llama(2, table=9)], "posterior") if nested else a_llama(1)
    mixture = mix([first, a_drm(3)], combination, names=["two", "one"], prior=[0.3, 0.7])
    if mixture.gate is not None:
        with torch.random.fork_rng():
            torch.manual_seed(4)
            mixture.gate.weight.data.normal_()
    return mixture.requires_grad_(requires_grad=False)


def log_p(model: Any, tokens: Tensor) -> Tensor:
    """ln p of each token but the first (B, T - 1), from the model's logits."""
    each = model(tokens, use_cache=False).logits.double().log_softmax(-1)
    return each[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]


def test_posterior_gives_a_text_the_mean_of_what_the_experts_give_all_of_it() -> None:
    """The chain rule over p(x) = sum_i prior_i p_i(x), which needs no posterior to be written down."""
    experts, prior = [a_llama(1), a_llama(2), a_drm(3)], torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    tokens = some_tokens(4, 20)
    whole = torch.stack([log_p(expert, tokens).sum(-1) for expert in experts], -1)  # (B, N)
    mixture = mix(experts, "posterior", prior=prior.tolist())
    torch.testing.assert_close(log_p(mixture, tokens).sum(-1), (whole + prior.log()).logsumexp(-1), atol=1e-4, rtol=0)


def test_posterior_comes_to_trust_the_expert_that_wrote_the_text() -> None:
    experts = [a_llama(1), a_llama(2)]
    text = experts[1].generate(some_tokens(1, 1), max_new_tokens=30, do_sample=True, pad_token_id=0, eos_token_id=-1)
    weights = mix(experts, "posterior")(text).expert_weights
    assert weights[0, 0].tolist() == [0.5, 0.5]
    assert weights[0, -1, 1] > 0.99


@pytest.mark.parametrize("combination", ["probability_mean", "gate"])
def test_probabilities_are_averaged(combination: str) -> None:
    experts, tokens = [a_llama(1), a_drm(3)], some_tokens(2, 9)
    found = mix(experts, combination, prior=[0.25, 0.75])(tokens).logits.exp()  # a gate that has learnt nothing
    parts = [expert(tokens).logits.softmax(-1) for expert in experts]
    torch.testing.assert_close(found, 0.25 * parts[0] + 0.75 * parts[1])


def test_logits_are_averaged() -> None:
    experts, tokens = [a_llama(1), a_drm(3)], some_tokens(2, 9)
    parts = [expert(tokens).logits for expert in experts]
    torch.testing.assert_close(mix(experts, "logit_mean")(tokens).logits, (parts[0] + parts[1]) / 2)


def test_a_gate_weighs_by_the_mean_of_what_was_read() -> None:
    mixture, tokens = a_mixture("gate", nested=False), some_tokens(2, 6)
    states = [expert(tokens, output_hidden_states=True).hidden_states[-1] for expert in mixture.experts]
    mean = torch.cat(states, -1)[:, :4].mean(1)
    scaled = (mean - mean.mean(-1, keepdim=True)) / (mean.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    wanted = (scaled @ mixture.gate.weight.T + torch.tensor([0.3, 0.7]).log()).softmax(-1)
    torch.testing.assert_close(mixture(tokens).expert_weights[:, 3], wanted)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_one_expert_is_what_it_was(combination: str) -> None:
    expert, tokens = a_llama(1), some_tokens(2, 9)
    found = mix([expert], combination)(tokens)
    torch.testing.assert_close(found.logits.log_softmax(-1), expert(tokens).logits.log_softmax(-1))
    assert torch.equal(found.expert_weights, torch.ones_like(found.expert_weights))


@pytest.mark.parametrize("combination", COMBINATIONS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), length=st.integers(2, 30), data=st.data())
def test_no_token_sees_a_later_one(combination: str, seed: int, length: int, data: st.DataObject) -> None:
    mixture, tokens = a_mixture(combination), some_tokens(2, length, seed=seed)
    place = data.draw(st.integers(1, length - 1))
    other = tokens.clone()
    other[:, place:] = some_tokens(2, length - place, seed=seed + 1)
    mine, theirs = mixture(tokens), mixture(other)
    assert torch.equal(mine.logits[:, :place], theirs.logits[:, :place])
    assert torch.equal(mine.expert_weights[:, :place], theirs.expert_weights[:, :place])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_pieces_with_a_cache_say_what_the_whole_says(combination: str) -> None:
    mixture, tokens, past, found = a_mixture(combination), some_tokens(3, 20), None, []
    for piece in tokens.split([7, 1, 1, 11], dim=1):
        answer = mixture(piece, past_key_values=past, use_cache=True)
        past = answer.past_key_values
        found.append(answer.logits)
    assert past is not None
    assert past.get_seq_length() == 20
    torch.testing.assert_close(torch.cat(found, 1), mixture(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_padding_changes_nothing(combination: str) -> None:
    mixture, tokens = a_mixture(combination), some_tokens(1, 14)
    alone = mixture(tokens).logits[0]
    left, right = (some_tokens(3, 19, seed=seed) for seed in (1, 2))
    mask = torch.ones_like(left)
    left[1, 5:], right[1, :14] = tokens[0], tokens[0]
    mask[1, :5] = 0
    torch.testing.assert_close(mixture(left, attention_mask=mask).logits[1, 5:], alone, atol=1e-4, rtol=0)
    torch.testing.assert_close(mixture(right, attention_mask=mask.flip(1)).logits[1, :14], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generates_the_same_with_a_cache_and_padding(combination: str, num_beams: int) -> None:
    mixture, tokens = a_mixture(combination), some_tokens(2, 6)
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    settings: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "num_beams": num_beams, "pad_token_id": 0}
    both = [mixture.generate(tokens, attention_mask=mask, use_cache=use, **settings) for use in (True, False)]
    assert torch.equal(*both)
    alone = mixture.generate(tokens[:1, 3:], **settings)
    assert torch.equal(both[0][:1, 3 : 3 + alone.shape[1]], alone)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_what_is_done_to_rows_is_done_to_all_that_is_kept_of_them(combination: str) -> None:
    """What beam search and several answers to one prompt ask of a cache."""
    mixture, tokens, more = a_mixture(combination), some_tokens(3, 8), some_tokens(3, 4, seed=1)
    for name, wanted, rows in (
        ("reorder_cache", torch.tensor([2, 0, 1]), [2, 0, 1]),
        ("batch_select_indices", torch.tensor([1, 1]), [1, 1]),
        ("batch_repeat_interleave", 2, [0, 0, 1, 1, 2, 2]),
    ):
        past = mixture(tokens, use_cache=True).past_key_values
        getattr(past, name)(wanted)
        found = mixture(more[:1].expand(len(rows), -1), past_key_values=past).logits
        whole = torch.cat((tokens[rows], more[:1].expand(len(rows), -1)), dim=1)
        torch.testing.assert_close(found, mixture(whole).logits[:, 8:], atol=1e-4, rtol=0)


def test_generating_reads_each_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture, lengths = a_mixture(), []
    forward = MixtureForCausalLM.forward

    def watched(self: Any, input_ids: Any = None, **others: Any) -> Any:
        if self is mixture:
            lengths.append(input_ids.shape[1])
        return forward(self, input_ids, **others)

    monkeypatch.setattr(MixtureForCausalLM, "forward", watched)
    mixture.generate(some_tokens(1, 6), max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=-1)
    assert lengths == [6, 1, 1, 1]


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_only_what_is_asked_for_is_kept(combination: str) -> None:
    mixture, tokens = a_mixture(combination), some_tokens(2, 9)
    whole, last = mixture(tokens), mixture(tokens, logits_to_keep=2)
    torch.testing.assert_close(last.logits, whole.logits[:, -2:])
    assert last.expert_weights.shape == (2, 2, 2)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_comes_back_from_a_file_with_one_copy_of_what_is_shared(combination: str, tmp_path: Path) -> None:
    mixture, tokens = a_mixture(combination), some_tokens(2, 9)
    mixture.save_pretrained(tmp_path / "mixture")
    found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "mixture")
    assert type(found) is MixtureForCausalLM
    assert torch.equal(found(tokens).logits, mixture(tokens).logits)
    tables = [expert.model.embed_tokens.weight for expert in found.experts[0].experts]
    assert tables[0].data_ptr() == tables[1].data_ptr()
    numbers = sum(parameter.numel() for parameter in found.parameters())
    apart = sum(parameter.numel() for expert in (a_llama(1), a_llama(2), a_drm(3)) for parameter in expert.parameters())
    assert numbers == apart - tables[0].numel() + sum(
        one.numel() for one in (found.gate or torch.nn.Identity()).parameters()
    )
    in_file = (tmp_path / "mixture" / "model.safetensors").stat().st_size
    assert 4 * numbers < in_file < 4 * numbers + 4 * tables[0].numel() + 8192  # and a header
    assert found.config.names == ["two", "one"]
    assert found.config.prior == [0.3, 0.7]


def test_twins_are_one_in_memory_and_file(tmp_path: Path) -> None:
    """All tensors of both are alike, the head included, which a Llama's class takes for tied."""
    mixture, tokens = mix([a_llama(1), a_llama(1)]), some_tokens(1, 8)
    mixture.save_pretrained(tmp_path / "twins")
    assert (tmp_path / "twins" / "model.safetensors").stat().st_size < 1.2 * 4 * sum(
        parameter.numel() for parameter in a_llama(1).parameters()
    )
    found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "twins")
    assert torch.equal(found(tokens).logits, mixture(tokens).logits)


def test_only_a_gate_learns(tmp_path: Path) -> None:
    mixture, tokens = mix([a_llama(1), a_drm(3)], "gate"), some_tokens(2, 9)
    mixture.save_pretrained(tmp_path / "mixture")
    found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "mixture").train()
    assert not any(expert.training for expert in found.experts)
    found(tokens, labels=tokens).loss.backward()
    learning = {name for name, parameter in found.named_parameters() if parameter.grad is not None}
    assert learning == {"gate.weight", "gate.bias"}
    assert found.gate.weight.grad.abs().sum() > 0


def test_loss_is_what_the_tokens_cost() -> None:
    mixture, tokens = a_mixture(), some_tokens(3, 9)
    torch.testing.assert_close(mixture(tokens, labels=tokens).loss.double(), -log_p(mixture, tokens).mean())


def test_configuration_says_what_it_is_made_of(tmp_path: Path) -> None:
    mixture = a_mixture()
    mixture.config.save_pretrained(tmp_path)
    found: Any = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(found, MixtureConfig)
    assert [one.model_type for one in found.expert_configs()] == ["mixture", "drm"]
    assert (found.vocab_size, found.hidden_size, found.max_position_embeddings) == (VOCAB, 48, 48)


def test_what_cannot_be_meant_is_refused() -> None:
    mixture, tokens = a_mixture(), some_tokens(1, 4)
    with pytest.raises(ConfigError, match="expected one of logit_mean"):
        mix([a_llama(1)], "mean")
    with pytest.raises(ConfigError, match="expected 2 different names, got a, a"):
        MixtureConfig.of([a_llama(1).config] * 2, names=["a", "a"])
    with pytest.raises(ConfigError, match=r"expected 2 weights above 0 that add up to 1, got 0\.5, 0\.6"):
        MixtureConfig.of([a_llama(1).config] * 2, prior=[0.5, 0.6])
    with pytest.raises(MixtureError, match=r"vocabularies of different sizes: 61 \(expert 1\), 60"):
        MixtureConfig.of([a_llama(1).config, a_llama(1, vocab_size=60).config])
    with pytest.raises(ConfigError, match="needs experts"):
        MixtureForCausalLM(MixtureConfig())
    with pytest.raises(ConfigError, match="give input_ids alone"):
        mixture(inputs_embeds=torch.zeros(1, 4, 16))
    with pytest.raises(ConfigError, match="past_key_values is a DynamicCache"):
        mixture(tokens, past_key_values=DynamicCache())
    with pytest.raises(ConfigError, match="attention_mask has 4 dimensions"):
        mixture(tokens, attention_mask=torch.ones(1, 1, 4, 4))
    with pytest.raises(ConfigError, match="cannot take tokens back"):
        mixture(tokens, use_cache=True).past_key_values.crop(1)
