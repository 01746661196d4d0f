"""Grafts attach to a mixture as to any model: sites in each expert, identity at birth, removal, merging."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import saint
from saint.composition import boundary_of, compose, mix, newborn
from saint.errors import ExportError
from saint.models import FrozenBase, block_stacks, token_nats
from saint.records import Candidate
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import moved
from small_experts import a_llama, some_tokens

OPTIONS: dict[str, dict[str, int | float | str]] = {"lora": {"rank": 2}, "layer": {}}


@pytest.fixture
def base() -> FrozenBase:
    """An expert, and a mixture of two smaller ones beside it."""
    small = {"num_hidden_layers": 1}
    inner = mix([a_llama(2, **small), a_llama(3, **small)], "probability_mean")
    return saint.freeze(mix([a_llama(1), inner], "posterior"))


def test_sites_are_found_in_each_expert(base: FrozenBase) -> None:
    stacks = ["experts.0.model.layers", "experts.1.experts.0.model.layers", "experts.1.experts.1.model.layers"]
    assert list(block_stacks(base.model)) == stacks
    alone = {site.module: site.role for site in saint.freeze(a_llama(1)).sites() if site.sort == "linear"}
    found = {site.module: site.role for site in base.sites() if site.sort == "linear"}
    assert {name: role for name, role in found.items() if name.startswith("experts.0.")} == {
        f"experts.0.{name}": role for name, role in alone.items()
    }
    assert sorted(name for name, role in found.items() if role == "head") == [
        "experts.0.lm_head",
        "experts.1.experts.0.lm_head",
        "experts.1.experts.1.lm_head",
    ]
    for sort in ("block", "insertion", "mlp"):
        assert len([site for site in base.sites() if site.sort == sort]) == 4


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_graft_in_an_expert_is_born_as_nothing_learns_and_goes(base: FrozenBase, kind: str) -> None:
    there = [site for site in base.sites() if site.sort == {"layer": "insertion"}.get(kind, "linear")]
    sites = tuple(there if kind == "lora" else there[-1:])
    graft = newborn(base, Candidate(sites=sites, kind=kind, options=OPTIONS[kind], seed=7))
    assert_identity(base, graft)
    tokens, how = some_tokens(2, 12), {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    before = token_nats(base.model, tokens)
    token_nats(compose(base, [moved(graft)]), tokens).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in graft.parameters())
    composed: Any = compose(base, [graft])
    assert not torch.equal(token_nats(composed, tokens), before)
    kept, anew = (composed.generate(tokens, use_cache=cache, **how) for cache in (True, False))
    assert torch.equal(kept, anew)
    assert torch.equal(token_nats(compose(base, []), tokens), before)
    assert boundary_of(base, [], sites) == 0, "no block lies below all of what is not in its expert"
    assert_base_untouched(base)


def test_a_graft_is_folded_into_its_expert_alone(base: FrozenBase, tmp_path: Path) -> None:
    sites = tuple(site for site in base.sites() if site.module.startswith("experts.1.experts.0.") and site.role == "up")
    stack = [moved(newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2}, seed=7)))]
    merged = saint.merge(base, stack)
    merged.model.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert_same_function(loaded, compose(base, stack), max_abs_difference=1e-5)
    assert_same_function(loaded, merged.model)
    now, before = merged.model.state_dict(), base.model.state_dict()
    assert [name for name in before if not torch.equal(now[name], before[name])] == [f"{sites[0].module}.weight"]


def test_a_weight_that_experts_share_is_not_folded_into() -> None:
    base = saint.freeze(mix([a_llama(1), a_llama(1)], "posterior"))
    sites = tuple(site for site in base.sites() if site.role == "up")[:1]
    graft = moved(newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2}, seed=7)))
    with pytest.raises(ExportError, match=r"is one tensor with experts\.1\.model\.layers\.0\.mlp\.up_proj\.weight"):
        saint.merge(base, [graft])
