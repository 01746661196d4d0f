"""What leaves the house says the same in other people's software."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import (
    compose,
    export_lora,
    export_peft,
    exported_difference,
    newborn,
    probe_logits,
)
from saint.errors import ExportError, SiteError, StorageError
from saint.folders import write_folder
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import moved, small_model

peft = pytest.importorskip("peft", reason="adapters are loaded by plain PEFT")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # by PEFT
transformers_logging.disable_progress_bar()

EXPORTS = {"lora": export_lora, "peft": export_peft}
Export = Callable[[FrozenBase, Sequence[Graft], Path], None]


@pytest.fixture
def plain_folder(tmp_path: Path) -> Path:
    """Where a user has the plain model."""
    small_model("llama").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def graft_at(base: FrozenBase, roles: str, kind: str, *, seed: int = 0, **options: int | float | str) -> Graft:
    """A moved graft at every site of these roles, at less than full strength."""
    sites = tuple(site for site in base.sites() if site.role in roles.split())
    graft = moved(newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=seed)), seed=seed)
    graft.set_strength(0.8)
    return graft


STACKS: dict[str, Callable[[FrozenBase], list[Graft]]] = {
    "phi": lambda base: [graft_at(base, "q up", "phi", rank=6)],
    "lora": lambda base: [graft_at(base, "v down head", "lora", rank=3, alpha=5.0)],
    "phi over lora at some of the same sites": lambda base: [
        graft_at(base, "q k up", "lora", rank=2),
        graft_at(base, "q down", "phi", seed=1, rank=9),
    ],
}


def loaded_by_peft(folder: Path, adapter: Path, family: Any = AutoModelForCausalLM) -> Any:
    """Plain software on a freshly loaded plain model."""
    return peft.PeftModel.from_pretrained(family.from_pretrained(folder), adapter).eval()


def difference(one: Any, other: Any) -> float:
    return float((probe_logits(one) - probe_logits(other)).abs().max())


@pytest.mark.parametrize("form", EXPORTS)
@pytest.mark.parametrize("stack", STACKS)
def test_peft_says_what_the_composed_model_says(form: str, stack: str, plain_folder: Path, tmp_path: Path) -> None:
    base = saint.freeze(plain_folder)
    grafts = STACKS[stack](base)
    EXPORTS[form](base, grafts, tmp_path / "adapter")
    composed = compose(base, grafts)
    assert difference(composed, base.model) > 1e-2
    assert difference(loaded_by_peft(plain_folder, tmp_path / "adapter"), composed) < 1e-4
    assert exported_difference(base, grafts, tmp_path / "adapter") < 1e-4
    base.check()


@pytest.mark.parametrize("form", EXPORTS)
@pytest.mark.parametrize(
    ("architecture", "roles"),
    [
        ("gpt2", "qkv o up down"),
        ("opt", "q v o up down"),
        ("qwen3", "q k v o gate up down"),
        ("t5_gated", "q cross_k o gate down"),
    ],
)
def test_peft_agrees_on_every_architecture(form: str, architecture: str, roles: str, tmp_path: Path) -> None:
    small_model(architecture).save_pretrained(tmp_path / "base")
    base = saint.freeze(tmp_path / "base")
    grafts = [graft_at(base, roles, "phi", rank=5), graft_at(base, "up down", "lora", seed=1, rank=2)]
    EXPORTS[form](base, grafts, tmp_path / "adapter")
    family = AutoModelForSeq2SeqLM if base.model.config.is_encoder_decoder else AutoModelForCausalLM
    composed = compose(base, grafts)
    assert difference(composed, base.model) > 1e-2
    assert difference(loaded_by_peft(tmp_path / "base", tmp_path / "adapter", family), composed) < 1e-4


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.", "ignore:fan_in_fan_out is set to True")
@pytest.mark.parametrize(("architecture", "roles"), [("gpt2", "qkv head"), ("qwen3", "head")])
def test_peft_agrees_on_a_tied_head(architecture: str, roles: str, tmp_path: Path) -> None:
    small_model(architecture).save_pretrained(tmp_path / "base")
    base = saint.freeze(tmp_path / "base")
    grafts = [graft_at(base, roles, "phi", rank=5)]
    export_peft(base, grafts, tmp_path / "adapter")
    composed = compose(base, grafts)
    assert difference(composed, base.model) > 1e-2
    assert difference(loaded_by_peft(tmp_path / "base", tmp_path / "adapter"), composed) < 1e-4


def test_a_rank_pattern_stores_less_than_one_rank_for_all(plain_folder: Path, tmp_path: Path) -> None:
    base = saint.freeze(plain_folder)
    grafts = [graft_at(base, "q k v o", "lora", rank=1), graft_at(base, "up", "phi", rank=16)]
    sizes = {}
    for form, export in EXPORTS.items():
        export(base, grafts, tmp_path / form)
        sizes[form] = (tmp_path / form / "adapter_model.safetensors").stat().st_size
        adapter = json.loads((tmp_path / form / "adapter_config.json").read_text(encoding="utf-8"))
        assert adapter["r"] == 16
        assert adapter["base_model_name_or_path"] == str(plain_folder)
    assert sizes["peft"] < 0.6 * sizes["lora"]


def test_a_wrong_file_shows_in_the_measured_difference(plain_folder: Path, tmp_path: Path) -> None:
    base = saint.freeze(plain_folder)
    grafts = STACKS["phi"](base)
    export_peft(base, grafts, tmp_path / "adapter")
    grafts[0].set_strength(0.4)
    assert exported_difference(base, grafts, tmp_path / "adapter") > 1e-3


@pytest.mark.parametrize("form", EXPORTS)
def test_a_block_cannot_be_said_as_lora(form: str, plain_folder: Path, tmp_path: Path) -> None:
    base = saint.freeze(plain_folder)
    stack = [*STACKS["phi"](base), graft_at(base, "block", "block", width=3)]
    with pytest.raises(ExportError, match="of kind block is not a low-rank change"):
        EXPORTS[form](base, stack, tmp_path / "adapter")
    with pytest.raises(ExportError, match=r"of kind block at .*:block cannot be folded"):
        saint.merge(base, stack)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


@pytest.mark.parametrize("form", EXPORTS)
def test_an_empty_stack_has_nothing_to_export(form: str, plain_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing to export"):
        EXPORTS[form](saint.freeze(plain_folder), [], tmp_path / "adapter")


@pytest.mark.parametrize("form", EXPORTS)
def test_an_existing_folder_is_left_as_it_is(form: str, plain_folder: Path, tmp_path: Path) -> None:
    base = saint.freeze(plain_folder)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine").write_text("kept", encoding="utf-8")
    with pytest.raises(ExportError, match="exists already"):
        EXPORTS[form](base, STACKS["phi"](base), tmp_path / "adapter")
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["mine"]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "half").write_text("half", encoding="utf-8")
        raise OSError("no space left on device")

    with pytest.raises(StorageError, match=r"was not written .*no space left"):
        write_folder(tmp_path / "adapter", fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("roles", ["up down", "up head"])
def test_a_merged_folder_is_a_plain_model(architecture: str, roles: str, tmp_path: Path) -> None:
    base = saint.freeze(small_model(architecture))
    stack = [graft_at(base, roles, "phi", rank=6), graft_at(base, roles, "lora", seed=1, rank=2)]
    merged = saint.merge(base, stack)
    write_folder(tmp_path / "merged", merged.model.save_pretrained)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    composed = compose(base, stack)
    assert difference(composed, base.model) > 1e-2
    assert difference(plain, composed) < 1e-4
    assert saint.freeze(tmp_path / "merged").digest == merged.digest
    with pytest.raises(StorageError, match="was not written"):
        write_folder(tmp_path / "merged", merged.model.save_pretrained)
    assert saint.freeze(tmp_path / "merged").digest == merged.digest, "what was there is still there"


def test_a_merged_bfloat16_base_stays_one_and_is_rounded_once() -> None:
    base = saint.freeze(small_model("llama").bfloat16())
    stack = [graft_at(base, "up", "lora", rank=2), graft_at(base, "up", "phi", seed=1, rank=4)]
    merged = saint.merge(base, stack)
    for site in stack[0].candidate.sites:
        before = base.model.get_submodule(site.module).weight.float()
        up_down = [graft.parts[site.key].factors() for graft in stack]
        expected = before + sum(factors.up @ factors.down for factors in up_down if factors is not None)
        assert torch.equal(merged.model.get_submodule(site.module).weight, expected.bfloat16())


def test_a_graft_of_another_base_finds_no_site() -> None:
    graft = graft_at(saint.freeze(small_model("llama")), "q head", "lora", rank=2)
    with pytest.raises(SiteError, match="the base has no module model"):
        compose(saint.freeze(small_model("gpt2")), [graft])


def test_a_graft_of_a_larger_base_does_not_fit() -> None:
    graft = graft_at(saint.freeze(small_model("llama")), "q", "lora", rank=2)
    with pytest.raises(SiteError, match=r"d_in=32.*the base has .*d_in=16"):
        compose(tiny_base(), [graft])
