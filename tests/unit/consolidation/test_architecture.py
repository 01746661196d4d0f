"""New layers and channels as parts of an ordinary model that plain software loads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    GPT2LMHeadModel,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.utils import logging as transformers_logging

import saint
from saint.cli.exporting import export_stack
from saint.composition import compose, newborn, probe_logits
from saint.consolidation import merge
from saint.consolidation._architecture import _padded
from saint.errors import ExportError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate, Decision, Outcome, Site, Verdict
from saint.registry import Registry
from saint.testing import an_evidence, assert_base_untouched, assert_same_function, tiny_base
from small_bases import ARCHITECTURES, moved, small_model

transformers_logging.disable_progress_bar()


@pytest.fixture(params=ARCHITECTURES)
def base(request: pytest.FixtureRequest) -> FrozenBase:
    return saint.freeze(small_model(request.param))


def sites_of(base: FrozenBase, sort: str) -> list[Site]:
    """Those of a sort; not the points after T5's first blocks, which hold what no other block may."""
    first = base.model.config.is_encoder_decoder and sort == "insertion"
    return [site for site in base.sites() if site.sort == sort and not (first and site.depth == 0)]


def graft_at(base: FrozenBase, kind: str, *sites: Site, seed: int = 0, strength: float = 0.7, **options: Any) -> Graft:
    graft = moved(newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=seed)), seed=seed)
    graft.set_strength(strength)
    return graft


def saved_and_loaded(merged: FrozenBase, folder: Path) -> Any:
    merged.model.save_pretrained(folder)
    family = AutoModelForSeq2SeqLM if merged.model.config.is_encoder_decoder else AutoModelForCausalLM
    return family.from_pretrained(folder).eval()


def test_new_layers_become_plain_ones_to_the_bit(base: FrozenBase, tmp_path: Path) -> None:
    """At a strength below 1, two at one point, in the stack's order."""
    points = sites_of(base, "insertion")
    stack = [graft_at(base, "layer", points[-1], seed=1), graft_at(base, "layer", *points, seed=2, strength=1.0)]
    merged = saint.merge(base, stack)
    plain = saved_and_loaded(merged, tmp_path)
    assert_same_function(plain, compose(base, stack))
    assert saint.freeze(plain).digest == merged.digest
    assert float((probe_logits(plain) - probe_logits(base.model)).abs().max()) > 1e-2
    assert_base_untouched(base)


def test_all_sorts_of_change_merge_together(base: FrozenBase, tmp_path: Path) -> None:
    """Linear changes inside moved blocks, MLPs of unequal growth, and layers, which are widened with the rest."""
    points, mlps = sites_of(base, "insertion"), sites_of(base, "mlp")
    linear = [site for site in base.sites() if site.role in ("q", "qkv", "down")]
    stack = [graft_at(base, "layer", points[-1], seed=1), graft_at(base, "lora", *linear, rank=2)]
    if mlps:
        stack += [graft_at(base, "width", mlps[0], width=5), graft_at(base, "width", *mlps, seed=3, width=3)]
    stack += [graft_at(base, "layer", points[0], seed=4)]
    merged = saint.merge(base, stack)
    plain = saved_and_loaded(merged, tmp_path)
    assert_same_function(plain, compose(base, stack), max_abs_difference=1e-5)
    assert merged.model.get_input_embeddings().weight.shape == base.model.get_input_embeddings().weight.shape
    grown = [site for site in merged.sites() if site.role == "down"]
    assert {site.d_in for site in grown} == {48 + (8 if mlps else 0)}
    assert len(grown) == len([site for site in linear if site.role == "down"]) + 2


def test_wider_mlps_alone_keep_the_number_of_layers(base: FrozenBase, tmp_path: Path) -> None:
    if not (mlps := sites_of(base, "mlp")):
        pytest.skip("its blocks hold the way up and down themselves, so there is no mlp site")
    stack = [graft_at(base, "width", mlps[-1], width=4)]
    merged = saint.merge(base, stack)
    assert_same_function(saved_and_loaded(merged, tmp_path), compose(base, stack), max_abs_difference=1e-5)
    assert len(sites_of(merged, "mlp")) == len(mlps)


@pytest.mark.parametrize("architecture", ["gpt2", "llama_tied"])
def test_a_merged_half_precision_base_stays_one(architecture: str) -> None:
    base = saint.freeze(small_model(architecture).bfloat16())
    stack = [
        graft_at(base, "layer", *sites_of(base, "insertion")),
        graft_at(base, "width", *sites_of(base, "mlp"), width=4),
    ]
    merged = saint.merge(base, stack)
    assert {parameter.dtype for parameter in merged.model.parameters()} == {torch.bfloat16}
    assert merged.model.get_output_embeddings().weight is merged.model.get_input_embeddings().weight
    difference = (probe_logits(merged.model) - probe_logits(compose(base, stack))).abs().mean()
    assert difference < 0.05 * (probe_logits(merged.model) - probe_logits(base.model)).abs().mean()


def test_layers_keep_the_attention_of_the_block_before_them(tmp_path: Path) -> None:
    """A stack of full and sliding windows: the configuration's list of them grows in the right places."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    windows = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, "max_position_embeddings": 64}
    settings = Qwen2Config(**sizes, **windows, vocab_size=96, num_key_value_heads=2, bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    base = saint.freeze(Qwen2ForCausalLM(settings))
    points = sites_of(base, "insertion")
    stack = [graft_at(base, "layer", points[1], seed=1), graft_at(base, "layer", points[0], seed=2)]
    composed, merged = compose(base, stack), saint.merge(base, stack)
    plain = saved_and_loaded(merged, tmp_path)
    assert plain.config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 2
    assert_same_function(plain, composed)
    settings = {"max_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    told = [model.generate(torch.arange(9)[None], **settings) for model in (composed, plain)]
    assert torch.equal(*told)


def test_t5_s_first_block_holds_what_no_other_may() -> None:
    base = saint.freeze(small_model("t5_gated"))
    first = next(site for site in base.sites() if site.sort == "insertion" and site.stream == "decoder")
    with pytest.raises(
        ExportError, match=r"has no decoder\.block\.1\..*relative_attention_bias\.weight as these grafts"
    ):
        saint.merge(base, [graft_at(base, "layer", first)])


def test_attention_that_is_scaled_by_depth_takes_no_layer() -> None:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 96}
    base = saint.freeze(GPT2LMHeadModel(GPT2Config(**sizes, scale_attn_by_inverse_layer_idx=True)))
    with pytest.raises(ExportError, match="scales attention by a layer's index"):
        saint.merge(base, [graft_at(base, "layer", *sites_of(base, "insertion"))])


def test_a_gate_and_a_way_up_in_one_projection_cannot_be_widened() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = saint.freeze(Phi3ForCausalLM(Phi3Config(**sizes, vocab_size=96, pad_token_id=0, max_position_embeddings=64)))
    graft = graft_at(base, "width", *sites_of(base, "mlp"), width=3)
    assert not torch.equal(probe_logits(compose(base, [graft])), probe_logits(base.model))
    with pytest.raises(ExportError, match="has its gate and its way up in one projection"):
        saint.merge(base, [graft])


def test_one_graft_that_cannot_be_merged_stops_it() -> None:
    base = saint.freeze(small_model("llama"))
    stack = [
        graft_at(base, "layer", *sites_of(base, "insertion")),
        graft_at(base, "block", *sites_of(base, "block"), width=2),
    ]
    with pytest.raises(ExportError, match=r"of kind block at .* cannot be folded"):
        saint.merge(base, stack)


def test_export_writes_a_plain_larger_model(tmp_path: Path) -> None:
    small_model("llama").save_pretrained(tmp_path / "base")
    base = saint.freeze(tmp_path / "base")
    registry = Registry.open(tmp_path / "garden")
    accepted = Decision(verdicts=(Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="gain +0.2"),))
    grafts = [
        graft_at(base, "layer", sites_of(base, "insertion")[0]),
        graft_at(base, "width", *sites_of(base, "mlp"), width=4),
    ]
    for graft in grafts:
        standing = tuple(registry.state.standing)
        evidence = an_evidence(graft=graft.digest, candidate=graft.candidate, base=base.digest, stack=standing)
        registry.record(graft, evidence, accepted)
    record = export_stack(registry, base, "merged", tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert (plain.config.num_hidden_layers, plain.config.intermediate_size) == (3, 52)
    assert record["max_abs_logit_difference"] < 1e-5
    assert_same_function(plain, compose(base, grafts), max_abs_difference=1e-5)
    only = export_stack(registry, base, "merged", tmp_path / "deeper", [grafts[0].digest[:12]])
    assert only["max_abs_logit_difference"] == 0.0
    with pytest.raises(ExportError, match="of kind layer is not a low-rank change"):
        export_stack(registry, base, "lora", tmp_path / "lora")


def test_channels_of_zero_are_made_where_the_others_are() -> None:
    [site, *_] = [site for site in tiny_base().sites() if site.sort == "mlp"]
    padded = _padded((), site, 3, torch.device("meta"))
    assert {way.device.type for way in padded if way is not None} == {"meta"}


def test_grafts_are_merged_where_the_base_is(monkeypatch: pytest.MonkeyPatch) -> None:
    base, moves = tiny_base(), []
    graft = newborn(base, Candidate(sites=(base.sites()[0],), kind="lora", options={"rank": 2}))
    monkeypatch.setattr(Graft, "to", lambda _graft, device: moves.append(device))
    merge(base, [graft])
    assert moves == [base.model.device]
