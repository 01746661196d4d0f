"""Output channels times a factor; in a stack the order of multiplying and adding is kept by merging."""

from typing import Any

import pytest
import torch

import saint
from saint.composition import compose, newborn, probe_logits
from saint.grafts import Graft
from saint.models import FrozenBase, weight_of
from saint.records import Candidate
from small_bases import moved, small_model


def graft_of(base: FrozenBase, kind: str, seed: int, **options: Any) -> Graft:
    sites = tuple(site for site in base.sites() if site.sort == "linear" and site.role in ("up", "down"))
    graft = moved(newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=seed)), seed=seed)
    graft.set_strength(0.8)
    return graft


def test_weight_rows_and_bias_are_multiplied() -> None:
    base = saint.freeze(small_model("gpt2"))
    graft = graft_of(base, "rescale", 0)
    merged = saint.merge(base, [graft])
    for site in graft.candidate.sites:
        before, after = base.model.get_submodule(site.module), merged.model.get_submodule(site.module)
        for channel, v in enumerate(graft.parts[site.key].get_parameter("v").tolist()):
            factor = 1 + 0.8 * v
            torch.testing.assert_close(weight_of(after)[channel], factor * weight_of(before)[channel])
            torch.testing.assert_close(after.bias[channel], factor * before.bias[channel])


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("first", [0, 1])
def test_merging_keeps_the_order_of_a_stack(architecture: str, first: int) -> None:
    base = saint.freeze(small_model(architecture))
    stack = [graft_of(base, "rescale", 0), graft_of(base, "lora", 1, rank=2), graft_of(base, "bitfit", 2)]
    stack = stack if architecture == "gpt2" else stack[:2]
    stack = stack[first:] + stack[:first]
    composed, merged = probe_logits(compose(base, stack)), probe_logits(saint.merge(base, stack).model)
    torch.testing.assert_close(merged, composed, atol=1e-4, rtol=1e-4)
    turned = probe_logits(compose(base, stack[::-1]))
    assert float((turned - composed).abs().max()) > 1e-3
