"""Grafts attach to a DRM as to any model: sites by role, identity at birth, removal, training."""

import pytest
import torch

import saint
from saint.backbones import DrmConfig, DrmForCausalLM
from saint.composition import Above, Below, boundary_of, compose, newborn
from saint.models import FrozenBase, forward_cost, token_nats
from saint.records import Candidate
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import moved

OPTIONS: dict[str, dict[str, int | float | str]] = {"phi": {"rank": 6}, "lora": {"rank": 3}, "block": {"width": 5}}
OPTIONS |= {"layer": {}}
SORTS = {"block": "block", "layer": "insertion"}


@pytest.fixture(params=["causal", "parity"])
def base(request: pytest.FixtureRequest) -> FrozenBase:
    config = {"vocab_size": 96, "d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": 48, "max_seq_len": 64}
    config |= {"d_manifold": 6, "metric_hidden": 24, "mode": request.param}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "causal":
            return saint.freeze(DrmForCausalLM(DrmConfig(**config)))
        with pytest.warns(UserWarning, match="sees the future"):
            return saint.freeze(DrmForCausalLM(DrmConfig(**config)))


def test_linear_maps_have_their_roles(base: FrozenBase) -> None:
    found = {site.module: site.role for site in base.sites() if site.sort == "linear"}
    blocks = {"attn.q_proj": "q", "attn.k_proj": "k", "attn.v_proj": "v", "attn.out_proj": "o"}
    blocks |= {"ffn.gate_proj": "gate", "ffn.up_proj": "up", "ffn.down_proj": "down"}
    if base.model.config.is_parity:  # where the mean distance of a row, read off its keys, divides what queries become
        blocks["attn.k_proj"] = "qk"
    expected = {f"blocks.{depth}.{name}": role for depth in range(2) for name, role in blocks.items()}
    outside = ("dim_gate.gate_net.0", "metric_net.net.0", "metric_net.net.2", "metric_net.net.4")
    outside += ("gravity_field.mass_net.0", "gravity_field.mass_net.2")
    assert found == {**expected, **dict.fromkeys(outside, "other"), "lm_head": "head"}
    assert [site.module for site in base.sites() if site.sort == "mlp"] == ["blocks.0.ffn", "blocks.1.ffn"]
    assert forward_cost(base, seq_len=16).total > 0


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_graft_is_born_as_nothing_learns_and_goes(base: FrozenBase, kind: str) -> None:
    sort = SORTS.get(kind, "linear")
    sites = tuple(site for site in base.sites() if site.sort == sort and min(site.d_in, site.d_out) > 1)
    sites = sites[: 1 if kind == "layer" else None]
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
    site = next(site for site in base.sites() if site.module == "blocks.1.ffn.up_proj")
    graft = moved(newborn(base, Candidate(sites=(site,), kind="lora", options=OPTIONS["lora"], seed=7)))
    boundary = boundary_of(base, (), [site])
    assert boundary == 1
    below = Below(base, (), [boundary])
    above = Above(base, (), [graft], boundary, lambda ids: below.read(ids)[boundary])
    tokens = torch.arange(40).view(2, 20)
    with torch.no_grad():
        found, right = (token_nats(model, tokens) for model in (above, compose(base, [graft])))
    assert torch.equal(found, right)


def test_merging_a_graft_gives_a_plain_drm(base: FrozenBase) -> None:
    sites = tuple(site for site in base.sites() if site.role in ("q", "o", "down"))
    graft = moved(newborn(base, Candidate(sites=sites, kind="lora", options=OPTIONS["lora"], seed=7)))
    merged = saint.merge(base, [graft])
    assert_same_function(compose(base, [graft]), merged.model, max_abs_difference=1e-4)
