"""Experts put together: what is shared, what it costs, and what is refused before weights are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.composition import average, mix, mixture_cost
from saint.data import Splits
from saint.errors import BaseChangedError, BaseModelError, ConfigError, MixtureError
from saint.evaluation import Losses
from saint.models import FrozenBase, freeze
from saint.testing import tiny_base, tiny_splits
from small_experts import VOCAB, WIDTH, a_drm, a_llama, some_tokens


def saved(model: Any, folder: Path, *, tokenizer: Any = None) -> Path:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def test_what_experts_have_alike_is_held_once(tmp_path: Path) -> None:
    paths = [saved(a_llama(seed, table=9), tmp_path / f"llama {seed}") for seed in (1, 2)]
    mixture: Any = mix([*paths, a_drm(3)])
    first, second, _ = mixture.experts
    assert first.model.embed_tokens.weight.data_ptr() == second.model.embed_tokens.weight.data_ptr()
    assert first.lm_head.weight.data_ptr() != second.lm_head.weight.data_ptr()
    assert mixture.config.names == ["llama 1", "llama 2", "expert 3"]
    cost = mixture_cost(mixture)
    assert cost.apart_params - cost.held_params == VOCAB * WIDTH


def test_sharing_goes_by_content_and_changes_no_value() -> None:
    """Two tables that differ in one number are two."""
    first, second = a_llama(1, table=9), a_llama(2, table=9)
    second.model.embed_tokens.weight.data[5, 5] += 1e-6
    before = [expert(some_tokens(2, 8)).logits for expert in (first, second)]
    mixture: Any = mix([first, second])
    after = [expert(some_tokens(2, 8)).logits for expert in mixture.experts]
    assert all(map(torch.equal, before, after))
    assert mixture.config.shared == {}


def a_layered(seed: int, **changes: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LayeredForCausalLM(LayeredConfig(**sizes, max_position_embeddings=64, **changes)).eval()


def test_experts_above_one_interface_hold_it_once(tmp_path: Path) -> None:
    """A frozen table is a buffer of integers; learned ones are apart, and another frozen one is refused."""
    mixture, tokens = mix([a_layered(1), a_layered(2)]), some_tokens(2, 8)
    saved(mixture, tmp_path / "mixture")
    found: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "mixture")
    for one in (mixture, found):
        tables = [expert.model.embed_tokens.code for expert in one.experts]
        assert tables[0].data_ptr() == tables[1].data_ptr()
        cost = mixture_cost(one)
        assert cost.apart_params - cost.held_params == tables[0].numel()
    assert torch.equal(found(tokens).logits, mixture(tokens).logits)
    assert found.config.interface_digest == a_layered(3).config.interface_digest
    learned = [a_layered(seed, interface="learned") for seed in (1, 2)]
    assert mix(learned).config.shared == {}
    with pytest.raises(MixtureError, match="expert 2 has the frozen interface"):
        mix([a_layered(1), a_layered(2, interface="gaussian")])


def test_an_interface_that_is_not_the_one_that_was_named_is_noticed(tmp_path: Path) -> None:
    mixture: Any = mix([a_layered(1), a_layered(2)])
    mixture.experts[0].model.embed_tokens.code[3] ^= 1  # of both, for it is one
    saved(mixture, tmp_path / "mixture")
    with pytest.raises(BaseChangedError, match="the token interface has digest"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "mixture")


def test_cost_of_experts_is_theirs_together() -> None:
    first, second = a_llama(1), a_llama(2)
    alone, both = mixture_cost(mix([first])), mixture_cost(mix([first, second]))
    linear = 2 * (4 * WIDTH * WIDTH + 3 * 24 * WIDTH) + VOCAB * WIDTH
    norms = 5 * WIDTH
    assert alone.active_params == linear + norms
    assert alone.held_params == linear + norms + VOCAB * WIDTH
    attention = 2 * 2 * WIDTH * 256  # of two layers: scores and mixing, half of the others each
    assert alone.flops_per_token == pytest.approx(2 * linear + attention, rel=0.01)
    assert (both.active_params, both.held_params) == (2 * alone.active_params, 2 * alone.held_params)
    assert both.flops_per_token == pytest.approx(2 * alone.flops_per_token, rel=0.01)
    assert alone.cache_bytes_per_token == 2 * 2 * WIDTH * 4
    assert both.cache_bytes_per_token == 2 * alone.cache_bytes_per_token
    assert both.cache_bytes_per_text == 2 * (VOCAB * 4 + 8)  # what the next token would cost, and all before did


def test_average_of_weights_is_one_model() -> None:
    first, second, tokens = a_llama(1), a_llama(2), some_tokens(2, 8)
    found: Any = average([first, second], prior=[0.25, 0.75])
    wanted = 0.25 * first.lm_head.weight.double() + 0.75 * second.lm_head.weight.double()
    assert torch.equal(found.lm_head.weight, wanted.float())
    assert torch.equal(average([first, first])(tokens).logits, first(tokens).logits)  # type: ignore[operator]
    assert not torch.equal(found(tokens).logits, first(tokens).logits)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: a_drm(3), "expert 2 has"),
        (
            lambda: a_llama(2, intermediate_size=32),
            "expert 2 has intermediate_size 32, expected 24, which expert 1 has",
        ),
        (lambda: a_llama(2, tie_word_embeddings=True), "expert 2 has tie_word_embeddings True, expected False"),
    ],
)
def test_average_of_unequal_architectures_is_refused(other: Any, message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        average([a_llama(1), other()])


def test_experts_of_different_tokenizers_are_refused_before_weights_are_read(tmp_path: Path, data: Splits) -> None:
    other = tiny_splits(seed=1).tokenizer
    base = tiny_base(data.tokenizer)
    paths = [saved(base.model, tmp_path / "one", tokenizer=data.tokenizer)]
    paths.append(saved(base.model, tmp_path / "two", tokenizer=other))
    for path in paths:
        (path / "model.safetensors").unlink()  # nobody gets so far
    with pytest.raises(MixtureError, match=r"two has the tokenizer \w{12}, expected \w{12}, which one has"):
        mix(paths)
    with pytest.raises(MixtureError, match="two has the tokenizer"):
        average(paths)


def test_experts_of_other_vocabularies_interfaces_or_formats_are_refused() -> None:
    with pytest.raises(MixtureError, match="small has a vocabulary of 60 tokens, expected the 61 of first"):
        mix([a_llama(1), a_llama(2, vocab_size=60)], names=["first", "small"])
    docks = [a_llama(1, interface_digest="a" * 64), a_llama(2, interface_digest="b" * 64)]
    with pytest.raises(MixtureError, match="expert 2 has the frozen interface bbbbbbbbbbbb, expected aaaaaaaaaaaa"):
        mix(docks)
    with pytest.raises(MixtureError, match="expert 2 is in bfloat16, the first expert in float32"):
        mix([a_llama(1), a_llama(2).to(torch.bfloat16)])
    with pytest.raises(ConfigError, match="got 0 experts"):
        mix([])
    with pytest.raises(BaseModelError, match="is not a folder"):
        mix(["./nowhere"])
    with pytest.raises(BaseModelError, match="holds no model"):
        mix([str(Path(__file__).parent)])


def test_what_all_have_in_common_is_known(base: FrozenBase) -> None:
    mixture = mix([base, tiny_base(base.tokenizer, seed=1)])
    assert mixture.config.tokenizer_digest == base.identity.tokenizer
    same = [a_llama(seed, interface_digest="a" * 64) for seed in (1, 2)]
    assert mix(same).config.interface_digest == "a" * 64


def test_a_mixture_is_a_base_like_any_other(tmp_path: Path, data: Splits) -> None:
    """Frozen from a file, with the identity that it had in memory, and measured document by document."""
    bases = [tiny_base(data.tokenizer, seed=seed) for seed in (1, 2)]
    mixture = mix(bases)
    folder = saved(mixture, tmp_path / "mixture", tokenizer=data.tokenizer)
    found = freeze(folder)
    assert found.digest == freeze(mixture, tokenizer=data.tokenizer).digest
    losses, text = Losses(seq_len=32), data.held_out
    nats = losses.measure(found.model, text)
    parts = [losses.measure(base.model, text) for base in bases]
    assert (abs(nats - (parts[0] + parts[1]) / 2) < 0.5 * text.num_tokens_each).all()
    assert nats.sum() < max(part.sum() for part in parts)


def test_experts_of_other_architectures_are_mixed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=8, n_layer=1, n_head=2, n_positions=32)).eval()
    mixture: Any = mix([gpt2, a_llama(1)], "gate")
    assert mixture.config.hidden_size == 8 + WIDTH
    tokens = some_tokens(2, 5)
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(
        mixture.generate(tokens, use_cache=True, **settings), mixture.generate(tokens, use_cache=False, **settings)
    )
