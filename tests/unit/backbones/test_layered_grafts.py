"""Grafts attach to a layered decoder as to any model: sites by role, identity at birth, removal, merging."""

from typing import Any

import pytest
import torch

import saint
from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.composition import Above, Below, boundary_of, compose, newborn
from saint.models import FrozenBase, forward_cost, token_nats
from saint.records import Candidate
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import moved

OPTIONS: dict[str, dict[str, int | float | str]] = {"phi": {"rank": 6}, "lora": {"rank": 3}, "block": {"width": 5}}
OPTIONS |= {"layer": {}, "width": {"width": 4}}
SORTS = {"block": "block", "layer": "insertion", "width": "mlp"}
HEADS: dict[str, dict[str, Any]] = {"untied": {}, "tied": {"head": "tied"}, "low rank": {"head": "low_rank"}}
HEADS["low rank"]["head_rank"] = 6


@pytest.fixture(params=HEADS)
def base(request: pytest.FixtureRequest) -> FrozenBase:
    sizes: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return saint.freeze(LayeredForCausalLM(LayeredConfig(**sizes, **HEADS[request.param])))


def test_linear_maps_have_their_roles(base: FrozenBase) -> None:
    found = {site.module: site.role for site in base.sites() if site.sort == "linear"}
    roles = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}
    blocks = {f"self_attn.{name}": role for name, role in roles.items()} | {
        "mlp.up_proj": "up",
        "mlp.down_proj": "down",
    }
    expected = {f"model.layers.{depth}.{name}": role for depth in range(2) for name, role in blocks.items()}
    heads = {"untied": {"lm_head": "head"}, "tied": {}}
    heads["low_rank"] = {"lm_head.in_proj": "other", "lm_head.out_proj": "head"}
    assert found == expected | heads[base.model.config.head]
    assert [site.module for site in base.sites() if site.sort == "mlp"] == ["model.layers.0.mlp", "model.layers.1.mlp"]
    assert forward_cost(base, seq_len=16).total > 0


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_graft_is_born_as_nothing_learns_and_goes(base: FrozenBase, kind: str) -> None:
    sort = SORTS.get(kind, "linear")
    sites = tuple(site for site in base.sites() if site.sort == sort)[: 1 if sort != "linear" else None]
    graft = newborn(base, Candidate(sites=sites, kind=kind, options=OPTIONS[kind], seed=7))
    assert_identity(base, graft)
    tokens = torch.arange(40).view(2, 20)
    before = token_nats(base.model, tokens)
    token_nats(compose(base, [moved(graft)]), tokens).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in graft.parameters())
    assert not torch.equal(token_nats(compose(base, [graft]), tokens), before)
    assert torch.equal(token_nats(compose(base, []), tokens), before)
    assert_base_untouched(base)


def test_a_model_that_starts_at_the_boundary_answers_as_the_whole_one(base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.module == "model.layers.1.mlp.up_proj")
    graft = moved(newborn(base, Candidate(sites=(site,), kind="lora", options=OPTIONS["lora"], seed=7)))
    boundary = boundary_of(base, (), [site])
    assert boundary == 1
    below = Below(base, (), [boundary])
    above = Above(base, (), [graft], boundary, lambda ids: below.read(ids)[boundary])
    tokens = torch.arange(40).view(2, 20)
    with torch.no_grad():
        found, right = (token_nats(model, tokens) for model in (above, compose(base, [graft])))
    assert torch.equal(found, right)


@pytest.mark.parametrize("kind", ["lora", "layer", "width"])
def test_merging_a_graft_gives_a_plain_layered_decoder(base: FrozenBase, kind: str) -> None:
    sites = [site for site in base.sites() if site.sort == SORTS.get(kind, "linear") and site.depth >= 0]
    chosen = tuple(sites[-1:] if kind in SORTS else sites)
    graft = moved(newborn(base, Candidate(sites=chosen, kind=kind, options=OPTIONS[kind], seed=7)))
    merged = saint.merge(base, [graft])
    assert type(merged.model) is LayeredForCausalLM
    assert merged.model.config.num_hidden_layers == (3 if kind == "layer" else 2)
    assert_same_function(compose(base, [graft]), merged.model, max_abs_difference=1e-4)
    merged.model.check_interface()  # type: ignore[operator]


def test_a_composition_with_a_new_layer_writes_with_a_cache_what_it_writes_without(base: FrozenBase) -> None:
    site = [site for site in base.sites() if site.sort == "insertion"][-1]
    graft = moved(newborn(base, Candidate(sites=(site,), kind="layer", options={}, seed=7)))
    model: Any = compose(base, [graft])
    prompt = torch.arange(12).view(2, 6)
    asked = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones_like(prompt), "pad_token_id": 0}
    cached = model.generate(prompt, use_cache=True, **asked)
    assert torch.equal(cached, model.generate(prompt, use_cache=False, **asked))
