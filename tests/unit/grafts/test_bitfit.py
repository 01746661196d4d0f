"""A bias trained alone is folded into the bias that is there, or into one that the architecture can have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import compose, newborn, probe_logits
from saint.errors import ExportError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate
from small_bases import moved, small_model

transformers_logging.disable_progress_bar()


def bitfit_at(base: FrozenBase, *roles: str) -> Graft:
    sites = tuple(site for site in base.sites() if site.sort == "linear" and site.role in roles)
    graft = moved(newborn(base, Candidate(sites=sites, kind="bitfit")))
    graft.set_strength(0.7)
    return graft


def test_the_change_is_the_same_whatever_the_input() -> None:
    base = saint.freeze(small_model("gpt2"))
    graft = bitfit_at(base, "up")
    for site in graft.candidate.sites:
        part: Any = graft.parts[site.key]
        x = torch.randn(4, site.d_in, generator=torch.Generator().manual_seed(0))
        y = base.model.get_submodule(site.module)(x)
        torch.testing.assert_close(part(x, y) - y, (0.7 * part.b).expand(4, -1))


@pytest.mark.parametrize(
    ("architecture", "roles"), [("gpt2", ("qkv", "o", "up", "down")), ("qwen2", ("q", "k", "v")), ("opt", ("q", "up"))]
)
def test_where_there_is_a_bias_merging_moves_it(architecture: str, roles: tuple[str, ...]) -> None:
    base = saint.freeze(small_model(architecture))
    graft = bitfit_at(base, *roles)
    merged = saint.merge(base, [graft])
    for site in graft.candidate.sites:
        before, after = base.model.get_submodule(site.module), merged.model.get_submodule(site.module)
        torch.testing.assert_close(after.bias, before.bias + 0.7 * graft.parts[site.key].get_parameter("b"))
        assert torch.equal(after.weight, before.weight)
    torch.testing.assert_close(probe_logits(merged.model), probe_logits(compose(base, [graft])), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "roles", "settings"),
    [
        ("llama", ("q", "v"), {"attention_bias"}),
        ("llama", ("down",), {"mlp_bias"}),
        ("llama_tied", ("o", "gate"), {"attention_bias", "mlp_bias"}),
        ("qwen3", ("k",), {"attention_bias"}),
    ],
)
def test_where_the_architecture_can_have_one_merging_gives_it_and_it_survives_saving(
    architecture: str, roles: tuple[str, ...], settings: set[str], tmp_path: Path
) -> None:
    base = saint.freeze(small_model(architecture))
    graft = bitfit_at(base, *roles)
    merged = saint.merge(base, [graft])
    composed = probe_logits(compose(base, [graft]))
    assert float((composed - probe_logits(base.model)).abs().max()) > 1e-2
    torch.testing.assert_close(probe_logits(merged.model), composed, atol=1e-4, rtol=1e-4)
    assert {key for key in ("attention_bias", "mlp_bias") if getattr(merged.model.config, key, False)} == settings
    assert not any(getattr(base.model.config, key, False) for key in ("attention_bias", "mlp_bias"))
    merged.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(probe_logits(loaded), probe_logits(merged.model))


@pytest.mark.parametrize(("architecture", "role"), [("llama", "head"), ("qwen2", "o"), ("qwen3", "down")])
def test_where_the_architecture_knows_none_merging_says_so(architecture: str, role: str) -> None:
    base = saint.freeze(small_model(architecture))
    with pytest.raises(ExportError, match=r"has no bias and its architecture knows none there.*leave that graft out"):
        saint.merge(base, [bitfit_at(base, role)])


def test_a_new_layer_above_has_none_of_the_biases_that_are_folded_below() -> None:
    base = saint.freeze(small_model("llama"))
    site = next(site for site in base.sites() if site.sort == "insertion")
    layer = moved(newborn(base, Candidate(sites=(site,), kind="layer")))
    stack = [bitfit_at(base, "q", "o"), layer]
    composed = probe_logits(compose(base, stack))
    torch.testing.assert_close(probe_logits(saint.merge(base, stack).model), composed, atol=1e-4, rtol=1e-4)
