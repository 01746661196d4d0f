"""What holds for one architecture holds for all: sites, identity at birth, removal, merging, saving."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import compose, newborn, probe_logits
from saint.grafts import Graft
from saint.models import FrozenBase, share_weights, weight_of
from saint.records import Candidate, Site
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import ARCHITECTURES, moved, small_model

ATTENTION = {"q": (32, 32), "k": (32, 32), "v": (32, 32), "o": (32, 32)}
GROUPED = {"q": (32, 32), "k": (32, 16), "v": (32, 16), "o": (32, 32)}
PLAIN = {"up": (32, 48), "down": (48, 32)}
GATED = {"gate": (32, 48), **PLAIN}
CROSS = {f"cross_{role}": size for role, size in ATTENTION.items()}
IN_A_DECODER_BLOCK = {
    "gpt2": {"qkv": (32, 96), "o": (32, 32), **PLAIN},
    "opt": {**ATTENTION, **PLAIN},
    "llama": {**GROUPED, **GATED},
    "llama_tied": {**GROUPED, **GATED},
    "qwen2": {**GROUPED, **GATED},
    "qwen3": {**GROUPED, **GATED},
    "t5_relu": {**ATTENTION, **CROSS, **PLAIN},
    "t5_gated": {**ATTENTION, **CROSS, **GATED},
}
IN_AN_ENCODER_BLOCK = {"t5_relu": {**ATTENTION, **PLAIN}, "t5_gated": {**ATTENTION, **GATED}}
TIED = {"gpt2", "opt", "llama_tied", "qwen2", "qwen3", "t5_relu", "t5_gated"}
EVERY_TIME = {"gpt2", "llama", "t5_gated"}
NUM_BLOCKS = 2
OPTIONS: dict[str, dict[str, int | float | str]] = {"phi": {"rank": 6}, "lora": {"rank": 3}, "block": {"width": 5}}

transformers_logging.disable_progress_bar()


@pytest.fixture(
    params=[pytest.param(name, marks=[] if name in EVERY_TIME else [pytest.mark.slow]) for name in ARCHITECTURES]
)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(architecture: str) -> FrozenBase:
    return saint.freeze(small_model(architecture))


def sites_of(base: FrozenBase, sort: str) -> tuple[Site, ...]:
    return tuple(site for site in base.sites() if site.sort == sort)


def born(base: FrozenBase, kind: str) -> Graft:
    """A newborn at every site that the kind fits."""
    sites = sites_of(base, "block" if kind == "block" else "linear")
    return newborn(base, Candidate(sites=sites, kind=kind, options=OPTIONS[kind], seed=7))


def test_every_linear_map_has_the_role_and_the_size_that_the_architecture_gives_it(
    architecture: str, base: FrozenBase
) -> None:
    expected = Counter({("head", -1, "decoder", (32, 96)): 1})
    for stream, blocks in {"decoder": IN_A_DECODER_BLOCK, "encoder": IN_AN_ENCODER_BLOCK}.items():
        for role, size in blocks.get(architecture, {}).items():
            expected.update((role, depth, stream, size) for depth in range(NUM_BLOCKS))
    found = [(site.role, site.depth, site.stream, (site.d_in, site.d_out)) for site in sites_of(base, "linear")]
    assert Counter(found) == expected


def test_the_weight_of_a_site_is_the_right_way_round(base: FrozenBase) -> None:
    generator = torch.Generator().manual_seed(0)
    for site in sites_of(base, "linear"):
        module = base.model.get_submodule(site.module)
        x = torch.randn(3, site.d_in, generator=generator)
        bias = 0.0 if module.bias is None else module.bias
        torch.testing.assert_close(module(x), x @ weight_of(module).T + bias)


def test_each_block_is_a_block_site_and_an_insertion_point(architecture: str, base: FrozenBase) -> None:
    streams = ["encoder", "decoder"] if architecture in IN_AN_ENCODER_BLOCK else ["decoder"]
    expected = [(stream, depth, 32, 32) for stream in streams for depth in range(NUM_BLOCKS)]
    for sort in ("block", "insertion"):
        there = [(site.stream, site.depth, site.d_in, site.d_out) for site in sites_of(base, sort)]
        assert there == expected
    keys = [site.key for site in base.sites()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kind", OPTIONS)
def test_newborns_at_every_site_change_nothing(base: FrozenBase, kind: str) -> None:
    assert_identity(base, born(base, kind))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_moved_graft_changes_something_and_leaves_nothing_behind(base: FrozenBase, kind: str) -> None:
    digest, before = base.digest, probe_logits(base.model)
    with_graft = probe_logits(compose(base, [moved(born(base, kind))]))
    assert float((with_graft - before).abs().max()) > 1e-3
    assert torch.equal(probe_logits(compose(base, [])), before)
    assert torch.equal(probe_logits(base.model), before)
    assert_base_untouched(base)
    assert saint.freeze(base.model).digest == digest


def test_every_site_can_be_moved_alone(base: FrozenBase) -> None:
    before = probe_logits(base.model)
    for site in base.sites():
        if site.sort in ("linear", "block"):
            kind = "block" if site.sort == "block" else "lora"
            alone = moved(newborn(base, Candidate(sites=(site,), kind=kind, options=OPTIONS[kind])))
            assert not torch.equal(probe_logits(compose(base, [alone])), before), site.key


@pytest.mark.parametrize("kind", ["phi", "lora"])
def test_merged_weights_say_what_the_composed_model_says(base: FrozenBase, kind: str) -> None:
    stack = [moved(born(base, kind), seed=1), moved(born(base, "lora"), seed=2)]
    stack[0].set_strength(0.6)
    before = base.digest
    merged = saint.merge(base, stack)
    composed = compose(base, stack)
    assert float((probe_logits(composed) - probe_logits(base.model)).abs().max()) > 1e-2
    assert_same_function(merged.model, composed, max_abs_difference=1e-4)
    assert merged.digest != before
    assert saint.freeze(base.model).digest == before


def test_a_merge_below_a_tied_head_leaves_it_tied_and_one_at_it_does_not_touch_the_embeddings(
    architecture: str, base: FrozenBase
) -> None:
    for role, stays_tied in {"down": architecture in TIED, "head": False}.items():
        sites = tuple(site for site in base.sites() if site.role == role)
        graft = moved(newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2})))
        model = saint.merge(base, [graft]).model
        embeddings = model.get_input_embeddings().weight
        assert (model.get_output_embeddings().weight is embeddings) == stays_tied
        assert torch.equal(embeddings, base.model.get_input_embeddings().weight)
        assert_same_function(model, compose(base, [graft]), max_abs_difference=1e-4)


def test_tied_weights_are_one_parameter(architecture: str, base: FrozenBase) -> None:
    embeddings, head = base.model.get_input_embeddings().weight, base.model.get_output_embeddings().weight
    assert (embeddings is head) == (architecture in TIED)
    assert base.num_params == sum({id(p): p.numel() for p in base.model.state_dict(keep_vars=True).values()}.values())
    copy = share_weights(base.model)
    assert copy.get_output_embeddings().weight is head
    assert copy.get_input_embeddings().weight is embeddings


def test_a_saved_base_freezes_to_the_same_digest(base: FrozenBase, tmp_path: Path) -> None:
    base.model.save_pretrained(tmp_path / "base")
    base.check()
    again = saint.freeze(tmp_path / "base")
    assert again.identity == base.identity
    assert again.tokenizer is None
    assert again.sites() == base.sites()
    assert torch.equal(probe_logits(again.model), probe_logits(base.model))


def test_newborns_change_nothing_in_half_precision(architecture: str) -> None:
    base = saint.freeze(small_model(architecture).bfloat16())
    for kind in OPTIONS:
        assert_identity(base, born(base, kind))
