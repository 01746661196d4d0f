"""A new layer: on every architecture, beside others, in generation, and refused where it would not be the identity."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import OPTConfig, OPTForCausalLM
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import compose, newborn, probe_logits
from saint.errors import SiteError
from saint.grafts import Graft, NewLayer
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import ARCHITECTURES, moved, small_model

transformers_logging.disable_progress_bar()


@pytest.fixture(params=ARCHITECTURES)
def base(request: pytest.FixtureRequest) -> FrozenBase:
    return saint.freeze(small_model(request.param))


def insertions(base: FrozenBase) -> list[Site]:
    return [site for site in base.sites() if site.sort == "insertion"]


def layer_at(base: FrozenBase, *sites: Site, init: str = "copy", seed: int = 0) -> Graft:
    return newborn(base, Candidate(sites=sites, kind="layer", options={"init": init}, seed=seed))


def neighbour(base: FrozenBase, site: Site) -> Any:
    return base.model.get_submodule(site.module)


def weights_of(graft: Graft, site: Site) -> Mapping[str, Tensor]:
    """The new layer's weights, by the names that they have in its neighbour."""
    grown = graft.parts[site.key].growth()
    assert isinstance(grown, NewLayer)
    return grown.weights


def test_newborns_at_every_insertion_point_change_nothing(base: FrozenBase) -> None:
    assert_identity(base, layer_at(base, *insertions(base), init="random"))


def test_newborns_change_nothing_in_half_precision(base: FrozenBase) -> None:
    half = saint.freeze(base.model.bfloat16())
    assert_identity(half, layer_at(half, *insertions(half)))


def test_only_what_writes_to_the_stream_starts_at_zero(base: FrozenBase) -> None:
    for site in insertions(base):
        zeros = {name for name, weight in weights_of(layer_at(base, site), site).items() if not weight.any()}
        written = {
            other.module.removeprefix(f"{site.module}.")
            for other in base.sites()
            if other.module.startswith(f"{site.module}.") and other.role in ("o", "cross_o", "down")
        }
        names = {name for name, _ in neighbour(base, site).named_parameters()}
        assert zeros == {f"{name}.{part}" for name in written for part in ("weight", "bias")} & names


def test_a_copy_is_the_neighbour_and_random_matrices_spread_like_its_own(base: FrozenBase) -> None:
    site = insertions(base)[0]
    copied, drawn = (weights_of(layer_at(base, site, init=init), site) for init in ("copy", "random"))
    for name, weight in neighbour(base, site).named_parameters():
        assert torch.equal(copied[name], weight) or not copied[name].any()
        if weight.ndim == 1 or not drawn[name].any():
            assert torch.equal(drawn[name], copied[name])
        else:
            assert not torch.equal(drawn[name], copied[name])
            assert 0.7 < float(drawn[name].std() / weight.std()) < 1.4


def test_all_of_it_learns_once_it_is_not_zero(base: FrozenBase) -> None:
    sites = insertions(base)[-1:]
    graft = moved(layer_at(base, *sites))
    probe = torch.arange(24).view(2, 12)
    inputs = {"decoder_input_ids": probe} if base.model.config.is_encoder_decoder else {}
    compose(base, [graft])(input_ids=probe, **inputs, use_cache=False).logits.square().mean().backward()
    part: Any = graft.parts[sites[0].key]
    part.flat = nn.Parameter(part.flat.grad)  # so that its gradient is read by name
    assert [name for name, gradient in weights_of(graft, sites[0]).items() if not gradient.any()] == []
    assert all(p.grad is None for p in base.model.parameters())


def test_it_is_removed_without_a_trace(base: FrozenBase) -> None:
    before = probe_logits(base.model)
    graft = moved(layer_at(base, *insertions(base)))
    assert float((probe_logits(compose(base, [graft])) - before).abs().max()) > 1e-3
    assert torch.equal(probe_logits(compose(base, [])), before)
    assert_base_untouched(base)


def test_it_runs_after_grafts_inside_its_neighbour_and_before_a_second_layer(base: FrozenBase) -> None:
    site = insertions(base)[0]
    inside = tuple(s for s in base.sites() if s.sort == "linear" and s.module.startswith(f"{site.module}."))
    lora = moved(newborn(base, Candidate(sites=inside, kind="lora", options={"rank": 2})))
    first, second = (moved(layer_at(base, site, seed=seed), seed=seed) for seed in (1, 2))
    stacks = {
        "lora": [lora],
        "one": [lora, first],
        "two": [lora, first, second],
        "swapped": [lora, second, first],
        "linear last": [first, second, lora],
    }
    logits = {name: probe_logits(compose(base, stack)) for name, stack in stacks.items()}
    assert torch.equal(logits["two"], logits["linear last"])
    for one, other in [("lora", "one"), ("one", "two"), ("two", "swapped")]:
        assert not torch.equal(logits[one], logits[other])
    assert_identity(base, layer_at(base, site, seed=3), stack=[lora, first, second])


def test_at_part_of_its_strength_it_changes_in_proportion(base: FrozenBase) -> None:
    site = insertions(base)[0]
    graft = moved(layer_at(base, site))
    before = probe_logits(base.model)
    changes = []
    for strength in (0.005, 0.01):
        graft.set_strength(strength)
        changes.append(probe_logits(compose(base, [graft])) - before)
    assert float((changes[1] - 2 * changes[0]).norm()) < 0.05 * float(changes[1].norm())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "t5_gated"])
@pytest.mark.parametrize("implementation", ["dynamic", "static"])
def test_generation_with_a_cache_says_what_it_says_without(architecture: str, implementation: str) -> None:
    base = saint.freeze(small_model(architecture))
    decoder = [site for site in insertions(base) if site.stream == "decoder"]
    first = moved(layer_at(base, decoder[1], decoder[0]), seed=1)
    second = moved(layer_at(base, decoder[0]), seed=2)
    model = compose(base, [first, second])
    prompt = torch.arange(10).view(2, 5)
    settings = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    settings |= {"decoder_start_token_id": 1} if base.model.config.is_encoder_decoder else {}
    settings |= {"return_dict_in_generate": True, "output_scores": True}
    without = model.generate(prompt, use_cache=False, **settings)
    with_cache = model.generate(prompt, use_cache=True, cache_implementation=implementation, **settings)
    assert torch.equal(with_cache.sequences, without.sequences)
    torch.testing.assert_close(torch.stack(with_cache.scores), torch.stack(without.scores), rtol=1e-4, atol=1e-4)
    bare = base.model.generate(prompt, use_cache=True, **settings)
    assert not torch.equal(torch.stack(bare.scores), torch.stack(with_cache.scores))


def test_a_graft_in_two_compositions_keeps_its_slot_in_each() -> None:
    base = saint.freeze(small_model("llama"))
    below, above = (moved(layer_at(base, site)) for site in insertions(base))
    both, alone = compose(base, [below, above]), compose(base, [above])
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    for model in (both, alone):
        with_cache, without = (
            model.generate(torch.arange(4)[None], use_cache=use, **settings) for use in (True, False)
        )
        assert torch.equal(with_cache, without)


def test_beams_carry_its_keys_and_values_along() -> None:
    base = saint.freeze(small_model("llama"))
    model = compose(base, [moved(layer_at(base, *insertions(base)))])
    settings = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False, "pad_token_id": 0}
    with_cache, without = (model.generate(torch.arange(4)[None], use_cache=use, **settings) for use in (True, False))
    assert torch.equal(with_cache, without)


def test_a_block_that_normalises_what_it_passes_on_is_refused() -> None:
    sizes = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "max_position_embeddings": 64}
    settings = OPTConfig(**sizes, vocab_size=96, num_hidden_layers=2, num_attention_heads=2, do_layer_norm_before=False)
    base = saint.freeze(OPTForCausalLM(settings))
    with pytest.raises(SiteError, match=r"layers\.1:insertion would not start as the identity"):
        layer_at(base, insertions(base)[1])


class _Normalised(nn.Module):
    """An output projection whose answer is normalised before it is added, as in OLMo 2."""

    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention, self.norm = attention, nn.RMSNorm(width, eps=1e-12)

    def forward(self, **kwargs: Any) -> Any:
        output, weights = self.attention(**kwargs)
        return self.norm(output), weights


def test_a_block_that_normalises_what_it_adds_is_refused() -> None:
    model = small_model("llama")
    model.model.layers[0].self_attn = _Normalised(model.model.layers[0].self_attn, 32)
    base = saint.freeze(model)
    with pytest.raises(SiteError, match=r"layers\.0:insertion would not start as the identity"):
        layer_at(base, insertions(base)[0])
    assert_identity(base, layer_at(base, insertions(base)[1]))


def test_a_block_of_quantised_weights_is_refused() -> None:
    base = saint.freeze(small_model("llama"))
    site = insertions(base)[0]
    projection = neighbour(base, site).mlp.up_proj
    projection.weight = nn.Parameter(projection.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(SiteError, match="whose weights are quantised"):
        layer_at(base, site)


def test_its_file_is_one_tensor_and_a_strength() -> None:
    base = saint.freeze(small_model("qwen3"))
    site = insertions(base)[0]
    graft = layer_at(base, site)
    assert {name.rpartition(".")[2]: tensor.numel() for name, tensor in graft.state_dict().items()} == {
        "flat": site.num_params,
        "_strength": 1,
    }


def test_half_precision_bases_get_a_layer_that_computes_in_float32() -> None:
    wide = saint.freeze(small_model("llama"))
    half = saint.freeze(small_model("llama").bfloat16())
    site = insertions(half)[0]
    graft = moved(layer_at(half, site))
    assert graft.parts[site.key].flat.dtype == torch.float32
    assert_same_function(compose(half, [graft]), compose(wide, [graft]), max_abs_difference=0.5)


def several_at(base: FrozenBase, *, blocks: int, with_head: bool = True, seed: int = 0) -> Graft:
    """New layers at the top, maybe with the head."""
    head = [site for site in base.sites() if site.role == "head"] if with_head else []
    sites = (insertions(base)[-1], *head)
    return newborn(base, Candidate(sites=sites, kind="layer", options={"blocks": blocks}, seed=seed))


def test_several_new_layers_are_as_many_grafts_of_one(base: FrozenBase) -> None:
    top, rest = insertions(base)[-1], {}
    pair = moved(several_at(base, blocks=2, with_head=False))
    key, flat = top.key, next(iter(pair.parts.values())).get_parameter("flat")
    singles = [layer_at(base, top, seed=seed) for seed in (0, 1)]
    for single, half in zip(singles, flat.chunk(2), strict=True):
        single.parts[key].load_state_dict({"flat": half.detach(), **rest})
    assert_same_function(compose(base, [pair]), compose(base, singles))
    assert pair.num_params == sum(single.num_params for single in singles)


def test_layers_with_a_head_change_nothing_and_are_taken_out_to_the_bit(base: FrozenBase) -> None:
    assert_identity(base, several_at(base, blocks=2))
    below = moved(several_at(base, blocks=1))
    before = probe_logits(compose(base, [below]))
    assert torch.equal(probe_logits(compose(base, [below, several_at(base, blocks=2, seed=1)])), before)
    above = moved(several_at(base, blocks=2, seed=1))
    assert not torch.equal(probe_logits(compose(base, [below, above])), before)
    assert torch.equal(probe_logits(compose(base, [below])), before)
    assert_base_untouched(base)


def test_however_many_change_the_head_it_is_one_product() -> None:
    base = saint.freeze(small_model("llama"))
    [head] = [site for site in base.sites() if site.role == "head"]
    stack = [moved(newborn(base, Candidate(sites=(head,), kind="layer", seed=seed))) for seed in range(3)]
    model, flops = compose(base, stack), []
    for one in (base.model, model):
        with FlopCounterMode(display=False) as counter:
            probe_logits(one)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]
    one_by_one = probe_logits(base.model)
    for graft in stack:
        one_by_one = one_by_one + probe_logits(compose(base, [graft])) - probe_logits(base.model)
    torch.testing.assert_close(probe_logits(model), one_by_one)
    assert_same_function(saint.merge(base, stack).model, model)
