"""A base of few bits is a base like any other: identified to the bit, grown on, and left as it was."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import compose, newborn, probe_logits
from saint.data import Splits
from saint.errors import BaseChangedError, BaseModelError, QuantizedBaseError
from saint.grafts import Graft
from saint.models import FrozenBase, float_weight, share_weights, weight_of
from saint.models._quantised import inner_tensors
from saint.records import Candidate, Site
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from saint.training import Schedule, continue_training
from small_bases import moved, small_model

transformers_logging.disable_progress_bar()
PACKAGES = {"int8": "torchao", "int4": "torchao", "nf4": "bitsandbytes"}
LARGEST_ERROR = {"int8": 0.5 / 127, "int4": 1 / 8, "nf4": 0.16}  # of the largest weight; the grid of nf4 is uneven
KINDS: dict[str, dict[str, int | float | str]] = {"phi": {"rank": 6}, "lora": {"rank": 3}, "block": {"width": 5}}
UP = "model.layers.0.mlp.up_proj"

with_bitsandbytes = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="the extra `quant` is not installed")


@pytest.fixture(params=PACKAGES)
def how(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(PACKAGES[request.param], reason="the extra `quant` is not installed")
    return request.param


def model_of(architecture: str = "llama", **sizes: int) -> Any:
    """With rows of whole blocks of 64."""
    return small_model(architecture, width=64, inner=128, **sizes)


def quantised(how: Any, architecture: str = "llama") -> FrozenBase:
    return saint.freeze(model_of(architecture), quantize=how)


def linear_sites(base: FrozenBase) -> tuple[Site, ...]:
    return tuple(site for site in base.sites() if site.sort == "linear")


def born(base: FrozenBase, kind: str) -> Graft:
    sites = tuple(site for site in base.sites() if site.sort == ("block" if kind == "block" else "linear"))
    return newborn(base, Candidate(sites=sites, kind=kind, options=KINDS[kind], seed=7))


def tensors_inside(base: FrozenBase) -> list[Tensor]:
    """Every tensor of plain numbers that the base consists of."""
    found = []
    for parameter in base.model.parameters():
        found += [*inner_tensors(parameter).values()] or [parameter.data]
        if state := getattr(parameter, "quant_state", None):
            found += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    return found


def test_sites_are_those_of_the_plain_model(how: Any) -> None:
    for architecture in ("llama", "opt", "qwen3", "t5_gated"):
        plain = saint.freeze(model_of(architecture))
        base = quantised(how, architecture)
        assert base.sites() == plain.sites()
        assert base.num_params == plain.num_params


def test_every_linear_map_but_the_head_is_quantised_and_stands_for_nearly_the_same_numbers(how: Any) -> None:
    plain, base = model_of(), quantised(how)
    for site in linear_sites(base):
        weight, read = weight_of(plain.get_submodule(site.module)), float_weight(base.model.get_submodule(site.module))
        assert read.shape == weight.shape
        assert read.dtype == weight.dtype
        if site.role == "head":
            assert torch.equal(read, weight)
            continue
        error = float((read - weight).detach().abs().max() / weight.detach().abs().max())
        assert 0 < error < LARGEST_ERROR[how]
        with pytest.raises(TypeError, match="plain weight"):
            weight_of(base.model.get_submodule(site.module))


def test_a_map_computes_with_the_numbers_that_are_read(how: Any) -> None:
    base = quantised(how, "opt")
    generator = torch.Generator().manual_seed(0)
    for site in linear_sites(base):
        module = base.model.get_submodule(site.module)
        x = torch.randn(3, site.d_in, generator=generator)
        bias = 0.0 if module.bias is None else module.bias
        torch.testing.assert_close(module(x), x @ float_weight(module).T + bias, rtol=1e-4, atol=1e-4)


def test_the_same_model_quantised_the_same_way_has_the_same_digest(how: Any) -> None:
    base, again = quantised(how), quantised(how)
    assert base.identity == again.identity
    assert base.identity.quantization == how
    assert torch.equal(probe_logits(base.model), probe_logits(again.model))
    plain = saint.freeze(model_of())
    assert base.digest != plain.digest
    with pytest.raises(BaseChangedError, match=f"has quantization none, expected {how}"):
        base.must_be(plain.identity, what="the other", remedy="none")


def test_one_flipped_bit_of_any_tensor_inside_changes_the_digest(how: Any) -> None:
    base = quantised(how)
    digests, tensors = {base.digest}, tensors_inside(base)
    assert any(tensor.dtype in (torch.int8, torch.uint8) for tensor in tensors)
    for tensor in tensors:
        raw = tensor.view(-1)[-1:].view(torch.uint8)
        raw[0] ^= 1
        digests.add(saint.freeze(base.model).identity.weights)
        with pytest.raises(BaseChangedError, match="weights with digest"):
            base.check()
        raw[0] ^= 1
        base.check()
    assert len(digests) > len(PACKAGES)


def test_running_it_changes_no_bit_of_it(how: Any) -> None:
    base = quantised(how)
    with torch.inference_mode():
        one = probe_logits(base.model)
    ids = torch.arange(64).view(2, 32) * 7919 % 96
    other = base.model(input_ids=ids, use_cache=False).logits
    base.check()
    assert torch.equal(one, other), "with gradients it answers as without"


def test_copies_share_what_it_lies_in(how: Any) -> None:
    base = quantised(how)
    copy = share_weights(base.model)
    for name, parameter in base.model.named_parameters():
        assert copy.get_parameter(name) is parameter
    assert copy.get_submodule(UP).__dict__.get("quant_state") is base.model.get_submodule(UP).__dict__.get(
        "quant_state"
    )
    assert torch.equal(probe_logits(copy), probe_logits(base.model))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "t5_gated"])
def test_grafts_are_born_moved_and_removed_as_on_any_base(how: Any, kind: str, architecture: str) -> None:
    base = quantised(how, architecture)
    before, graft = probe_logits(base.model), born(base, kind)
    assert_identity(base, graft)
    assert {parameter.dtype for parameter in graft.parameters()} == {torch.float32}
    assert float((probe_logits(compose(base, [moved(graft)])) - before).abs().max()) > 1e-3
    assert torch.equal(probe_logits(compose(base, [])), before)
    assert_base_untouched(base)


def test_newborns_change_nothing_in_bfloat16(how: Any) -> None:
    base = saint.freeze(model_of().bfloat16(), quantize=how)
    for kind in KINDS:
        assert_identity(base, born(base, kind))
    assert_base_untouched(base)


def test_a_basis_of_the_weight_is_one_of_the_numbers_it_stands_for(how: Any) -> None:
    base = quantised(how)
    part = born(base, "phi").parts[UP]
    u = torch.linalg.svd(float_weight(base.model.get_submodule(UP))).U[:, :6]
    projections = torch.linalg.svdvals(u.T @ part.a)
    torch.testing.assert_close(projections, torch.ones(6), rtol=1e-4, atol=1e-4)


def test_lora_learns_on_it_and_the_whole_base_does_not(how: Any, data: Splits) -> None:
    base = saint.freeze(model_of(vocab_size=300), tokenizer=data.tokenizer, quantize=how)
    candidate = Candidate(sites=linear_sites(base), kind="lora", options={"rank": 2}, lr=0.02)
    schedule = Schedule(num_steps=20, batch_size=4, seq_len=16, evaluate_every=10)
    graft = saint.train(base, (), candidate, data.train, select=data.select["prose"], schedule=schedule)
    assert graft.history is not None
    (_, first), (_, last) = graft.history.select_bpb
    assert last < first
    assert_base_untouched(base)
    with pytest.raises(QuantizedBaseError, match="freeze it in full precision"):
        continue_training(base, data.train, lr=0.01, schedule=schedule)


def test_merging_gives_a_plain_base_that_says_what_was_composed(how: Any, tmp_path: Path) -> None:
    base = quantised(how)
    stack = [moved(born(base, "phi"), seed=1), moved(born(base, "lora"), seed=2)]
    merged = saint.merge(base, stack)
    assert not merged.is_quantised
    assert merged.identity.quantization is None
    assert_same_function(merged.model, compose(base, stack), max_abs_difference=2e-4)
    assert_base_untouched(base)
    merged.model.save_pretrained(tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert_same_function(plain, merged.model)


def test_a_folder_is_quantised_as_it_is_read(how: Any, tmp_path: Path) -> None:
    model_of().save_pretrained(tmp_path / "base")
    assert saint.freeze(tmp_path / "base", quantize=how).identity == quantised(how).identity


def test_what_is_quantised_is_not_quantised_again(how: Any) -> None:
    with pytest.raises(BaseModelError, match="quantised already; leave quantize out"):
        saint.freeze(quantised(how).model, quantize=how)


def test_maps_that_keep_their_weight_transposed_are_refused(how: Any) -> None:
    with pytest.raises(BaseModelError, match=r"c_attn is a Conv1D.*leave quantize out"):
        quantised(how, "gpt2")


@with_bitsandbytes
def test_rows_that_bitsandbytes_would_read_wrongly_are_refused() -> None:
    with pytest.raises(BaseModelError, match=r"q_proj has 32 inputs, and nf4 needs a multiple of 64.*int8 or int4"):
        saint.freeze(small_model("llama"), quantize="nf4")


@pytest.mark.parametrize("width", [32, 48, 96])
def test_integers_of_any_width_stand_for_the_numbers(width: int) -> None:
    pytest.importorskip("torchao", reason="the extra `quant` is not installed")
    plain = small_model("llama", width=width, inner=width + 8)
    base = saint.freeze(small_model("llama", width=width, inner=width + 8), quantize="int4")
    for site in linear_sites(base):
        weight = weight_of(plain.get_submodule(site.module)).detach()
        assert (
            float((float_weight(base.model.get_submodule(site.module)) - weight).abs().max() / weight.abs().max())
            < 1 / 8
        )


@pytest.mark.parametrize(("how", "package"), PACKAGES.items())
def test_a_missing_package_is_named_with_the_extra(how: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (package, f"{package}.nn", f"{package}.quantization"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(BaseModelError, match=rf"{how} needs the package {package}: pip install 'saint-g\[quant\]'"):
        quantised(how)


class PackedLinear(nn.Module):
    """As GPTQ and AWQ have them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("qweight", torch.zeros(4, 4, dtype=torch.int32))


class IntegerLinear(nn.Linear):
    """A linear map with a weight of a sort of its own."""

    def __init__(self) -> None:
        super().__init__(64, 128, bias=False)
        self.weight = nn.Parameter(torch.zeros(128, 64, dtype=torch.int8), requires_grad=False)


@pytest.mark.parametrize("foreign", [PackedLinear, IntegerLinear])
def test_a_format_that_nobody_here_reads_is_refused(foreign: type[nn.Module]) -> None:
    model = model_of()
    model.set_submodule(UP, foreign())
    with pytest.raises(BaseModelError, match=rf"{UP} is {foreign.__name__} .*on which grafts cannot stand; give"):
        saint.freeze(model)


def test_a_folder_of_another_method_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    model = model_of()
    model.config.quantization_config = {"quant_method": "gptq", "bits": 4}
    model.config.save_pretrained(tmp_path / "base")
    with pytest.raises(
        BaseModelError, match="is quantised by gptq, on which grafts cannot stand; give the model in full"
    ):
        saint.freeze(tmp_path / "base")


@with_bitsandbytes
def test_a_folder_that_transformers_has_quantised_is_frozen_as_it_is(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    model_of().save_pretrained(tmp_path / "plain")
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=settings).save_pretrained(
        tmp_path / "nf4"
    )
    base = saint.freeze(tmp_path / "nf4")
    assert base.is_quantised
    assert_identity(base, born(base, "phi"))
    assert_base_untouched(base)
    assert saint.freeze(tmp_path / "nf4").identity == base.identity
    stack = [moved(born(base, "lora"))]
    assert_same_function(saint.merge(base, stack).model, compose(base, stack), max_abs_difference=2e-4)


@with_bitsandbytes
def test_a_folder_in_8_bits_of_bitsandbytes_is_refused(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    model_of().save_pretrained(tmp_path / "plain")
    settings = BitsAndBytesConfig(load_in_8bit=True)
    AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=settings).save_pretrained(
        tmp_path / "int8"
    )
    with pytest.raises(BaseModelError, match="Linear8bitLt with a weight of Int8Params"):
        saint.freeze(tmp_path / "int8")
