"""Every kind of graft that PEFT can name is a PEFT method, and keeps there what it keeps here."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

import saint
from saint import discovery
from saint.composition import compose, newborn, probe_logits
from saint.errors import AdapterError, ExportError
from saint.grafts import Kind, kind_and_options
from saint.models import FrozenBase
from saint.records import Candidate
from small_bases import moved, small_model

peft = pytest.importorskip("peft", reason="grafts are added to its methods")

from saint.adapters import export_graft, read_adapter, to_graft  # noqa: E402
from saint.peft import GraftConfig, GraftLayer, initialise  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
transformers_logging.disable_progress_bar()

KINDS = {name: discovery.find("grafts", name, Kind) for name in discovery.names("grafts")}
EXAMPLES = [
    pytest.param(name, kind.examples[0], id=name)  # the conformance suite tries the others
    for name, kind in KINDS.items()
    if kind.attaches_to in ("linear", "block")
]
every_kind = pytest.mark.parametrize(("kind", "options"), EXAMPLES)
PHI: dict[str, Any] = {"kind": "phi", "options": {"rank": 3}}
UP: dict[str, Any] = {**PHI, "target_modules": ["up_proj"]}
BLOCK: dict[str, Any] = {"kind": "block", "options": {"width": 4}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user has the plain model."""
    folder = tmp_path_factory.mktemp("home") / "base"
    small_model("llama").save_pretrained(folder)
    return folder


@functools.cache
def loaded(home: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(home).eval()


def plain(home: Path) -> Any:
    """A plain model of one's own."""
    return copy.deepcopy(loaded(home))


@functools.cache
def frozen(home: Path) -> FrozenBase:
    return saint.freeze(home)


def adapted(home: Path, *, training: bool = False, **settings: Any) -> Any:
    """The model with a newborn adapter, whatever its kind needs for that."""
    config = GraftConfig(task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(plain(home), config).train(training)
    initialise(model, [torch.arange(4 * 33).view(4, 33) * 7919 % 96])
    return model


def moved_adapter(model: Any) -> Any:
    """The active adapter as training could have left it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def assert_as_good_as_equal(one: Tensor, other: Tensor) -> None:
    """Equal but for the order of sums, which depends on where in memory a matrix happens to lie."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def names_that_train(model: Any) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@every_kind
def test_a_newborn_changes_nothing_and_only_it_trains(kind: str, options: Any, home: Path) -> None:
    model = adapted(home, kind=kind, options=options)
    if KINDS[kind].begin is Kind.begin:  # else it has taken its first step
        assert torch.equal(probe_logits(model), probe_logits(plain(home)))
    assert names_that_train(model)
    assert all(".saint_graft." in name for name in names_that_train(model))


@every_kind
def test_saved_and_loaded_it_is_the_same_to_the_bit(kind: str, options: Any, home: Path, tmp_path: Path) -> None:
    model = moved_adapter(adapted(home, kind=kind, options=options))
    model.save_pretrained(tmp_path)
    expected = probe_logits(model)
    assert not torch.equal(expected, probe_logits(plain(home)))
    again = peft.PeftModel.from_pretrained(plain(home), tmp_path).eval()
    assert torch.equal(probe_logits(again), expected)
    frugal = peft.PeftModel.from_pretrained(plain(home), tmp_path, low_cpu_mem_usage=True).eval()
    assert_as_good_as_equal(probe_logits(frugal), expected)


@every_kind
def test_here_it_says_what_it_said_there(kind: str, options: Any, home: Path, tmp_path: Path) -> None:
    model = moved_adapter(adapted(home, kind=kind, options=options))
    model.save_pretrained(tmp_path)
    base = frozen(home)
    composed = compose(base, [to_graft(base, read_adapter(tmp_path))])
    assert_as_good_as_equal(probe_logits(composed), probe_logits(model))


@every_kind
def test_disabled_or_unloaded_the_base_is_what_it_was(kind: str, options: Any, home: Path) -> None:
    before = probe_logits(plain(home))
    model = moved_adapter(adapted(home, kind=kind, options=options))
    after = probe_logits(model)
    with model.disable_adapter():
        assert torch.equal(probe_logits(model), before)
    assert torch.equal(probe_logits(model), after)
    unloaded = model.unload()
    assert torch.equal(probe_logits(unloaded), before)
    assert [name for name, _ in unloaded.named_modules()] == [name for name, _ in plain(home).named_modules()]
    assert not any(module._forward_hooks for module in unloaded.modules())


@every_kind
def test_merged_it_says_the_same_or_is_refused(kind: str, options: Any, home: Path) -> None:
    model = moved_adapter(adapted(home, kind=kind, options=options))
    after = probe_logits(model)
    if not KINDS[kind].can_fold:
        for merge in (model.merge_and_unload, model.merge_adapter):
            with pytest.raises(ExportError, match="is no change of a weight and cannot be merged"):
                merge()
        assert torch.equal(probe_logits(model), after)
        return
    model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(probe_logits(model), after, rtol=1e-4, atol=1e-4)
    model.unmerge_adapter()
    assert torch.equal(probe_logits(model), after), "unmerging puts the very weights back"
    merged = model.merge_and_unload()
    torch.testing.assert_close(probe_logits(merged), after, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, GraftLayer) for module in merged.modules())


@every_kind
def test_the_same_seed_is_born_the_same_here_and_there(kind: str, options: Any, home: Path, tmp_path: Path) -> None:
    if kind_and_options(kind, options)[0].wants(kind_and_options(kind, options)[1]):
        pytest.skip("what it is born from is measured")
    adapted(home, kind=kind, options=options, seed=5).save_pretrained(tmp_path)
    base = frozen(home)
    found = to_graft(base, read_adapter(tmp_path))
    assert found.candidate.seed == 5
    assert found.to_bytes() == newborn(base, found.candidate).to_bytes()


@every_kind
def test_a_graft_of_ours_is_loaded_by_peft(kind: str, options: Any, home: Path, tmp_path: Path) -> None:
    adapted(home, kind=kind, options=options).save_pretrained(tmp_path / "newborn")
    base = frozen(home)
    graft = moved(to_graft(base, read_adapter(tmp_path / "newborn")))
    graft.set_strength(0.7)
    export_graft(base, [graft], tmp_path / "exported")
    loaded = peft.PeftModel.from_pretrained(plain(home), tmp_path / "exported").eval()
    assert_as_good_as_equal(probe_logits(loaded), probe_logits(compose(base, [graft])))
    assert to_graft(base, read_adapter(tmp_path / "exported")).to_bytes() == graft.to_bytes()


def test_options_by_role_are_exported_by_module(home: Path, tmp_path: Path) -> None:
    base = frozen(home)
    sites = tuple(site for site in base.sites() if site.role in ("q", "k"))
    at = {"q": {"rank": 4}, sites[1].key: {"basis": "random"}}
    graft = moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 2, "at": at})))
    export_graft(base, [graft], tmp_path / "exported")
    loaded = peft.PeftModel.from_pretrained(plain(home), tmp_path / "exported").eval()
    assert torch.equal(probe_logits(loaded), probe_logits(compose(base, [graft])))


@pytest.mark.parametrize("settings", [PHI, BLOCK], ids=["phi", "block"])
def test_checkpointing_gives_the_same_gradients(settings: Any, home: Path) -> None:
    def gradients(*, checkpointing: bool) -> list[Tensor]:
        model = moved_adapter(adapted(home, training=True, **settings))
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        tokens = torch.arange(34).view(2, 17)
        model(input_ids=tokens, labels=tokens).loss.backward()
        return [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]

    plainly, saving = gradients(checkpointing=False), gradients(checkpointing=True)
    assert len(plainly) > 1
    for one, other in zip(plainly, saving, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("settings", [PHI, BLOCK], ids=["phi", "block"])
def test_it_generates_and_hidden_states_show_it(settings: Any, home: Path) -> None:
    model = moved_adapter(adapted(home, **settings))
    prompt = torch.tensor([[1, 5, 7]])
    made = [
        model.generate(input_ids=prompt, max_new_tokens=8, do_sample=False, use_cache=cached, pad_token_id=0)
        for cached in (True, False)
    ]
    assert torch.equal(*made)
    states = model(input_ids=prompt, output_hidden_states=True).hidden_states
    assert not torch.equal(states[1], plain(home)(input_ids=prompt, output_hidden_states=True).hidden_states[1])


def test_transformers_loads_it_by_itself(home: Path, tmp_path: Path) -> None:
    model = moved_adapter(adapted(home, **BLOCK))
    model.save_pretrained(tmp_path)
    for loaded_model in (plain(home), AutoModelForCausalLM.from_pretrained(tmp_path).eval()):
        if not hasattr(loaded_model, "peft_config"):
            loaded_model.load_adapter(str(tmp_path))
        assert torch.equal(probe_logits(loaded_model), probe_logits(model))
        loaded_model.disable_adapters()
        assert torch.equal(probe_logits(loaded_model), probe_logits(plain(home)))
        loaded_model.delete_adapter("default")
        assert torch.equal(probe_logits(loaded_model), probe_logits(plain(home)))


def test_whole_modules_are_saved_beside_it_and_are_no_graft(home: Path, tmp_path: Path) -> None:
    model = moved_adapter(adapted(home, modules_to_save=["lm_head"], **UP))
    assert any("modules_to_save" in name for name in names_that_train(model))
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(plain(home), tmp_path).eval()
    assert torch.equal(probe_logits(again), probe_logits(model))
    with pytest.raises(AdapterError, match="train without modules_to_save"):
        to_graft(frozen(home), read_adapter(tmp_path))


def test_several_adapters_of_different_kinds(home: Path) -> None:
    before = probe_logits(plain(home))
    model = moved_adapter(adapted(home, **PHI))
    only_phi = probe_logits(model)
    model.add_adapter("after", GraftConfig(task_type="CAUSAL_LM", **BLOCK))
    assert torch.equal(probe_logits(model), only_phi), "a new adapter waits until it is chosen"
    model.set_adapter("after")
    assert torch.equal(probe_logits(model.eval()), before)
    assert all(".after." in name for name in names_that_train(model))
    moved_adapter(model)
    only_block = probe_logits(model)
    model.base_model.set_adapter(["default", "after"])
    both = probe_logits(model)
    assert not any(torch.equal(both, other) for other in (before, only_phi, only_block))
    assert torch.equal(probe_logits(copy.deepcopy(model)), both)
    model.delete_adapter("default")
    assert torch.equal(probe_logits(model), only_block)
    model.delete_adapter("after")
    assert torch.equal(probe_logits(model.base_model.model), before)


@pytest.mark.parametrize("settings", [PHI, BLOCK], ids=["phi", "block"])
def test_a_half_precision_base_keeps_its_newborn_exact_and_wide(settings: Any, home: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(home, dtype=torch.bfloat16).eval()
    before = probe_logits(model)
    adapted_model = peft.get_peft_model(model, GraftConfig(task_type="CAUSAL_LM", **settings)).eval()
    assert torch.equal(probe_logits(adapted_model), before)
    parts = [layer for layer in adapted_model.modules() if isinstance(layer, GraftLayer)]
    assert {tensor.dtype for part in parts for tensor in part.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("settings", [PHI, BLOCK], ids=["phi", "block"])
def test_a_quantised_base_carries_adapters_and_takes_no_merge(settings: Any) -> None:
    pytest.importorskip("torchao", reason="it quantises")
    base = saint.freeze(small_model("llama"), quantize="int8")
    before = probe_logits(base.model)
    model = peft.get_peft_model(base.model, GraftConfig(task_type="CAUSAL_LM", **settings)).eval()
    assert torch.equal(probe_logits(model), before)
    moved_adapter(model)
    assert not torch.equal(probe_logits(model), before)
    with pytest.raises(ExportError, match=r"is quantised|no change of a weight"):
        model.merge_and_unload()
    assert torch.equal(probe_logits(model.unload()), before)


@pytest.mark.filterwarnings(
    "ignore:Model has .tie_word_embeddings=True.", "ignore:Model with .tie_word_embeddings=True"
)
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied")
@pytest.mark.parametrize("architecture", ["llama_tied", "gpt2"])
def test_merging_a_tied_head_leaves_the_embeddings_alone(architecture: str) -> None:
    model = small_model(architecture).eval()
    embeddings = model.get_input_embeddings().weight.clone()
    config = GraftConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], **PHI)
    changed = moved_adapter(peft.get_peft_model(model, config).eval())
    after = probe_logits(changed)
    merged = changed.merge_and_unload()
    torch.testing.assert_close(probe_logits(merged), after, rtol=1e-4, atol=1e-4)
    assert torch.equal(merged.get_input_embeddings().weight, embeddings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (UP, ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]),
        (UP | {"layers_to_transform": [1]}, ["model.layers.1.mlp.up_proj"]),
        (UP | {"exclude_modules": ["layers.0.mlp.up_proj"]}, ["model.layers.1.mlp.up_proj"]),
        (
            PHI | {"target_modules": r".*\.1\.mlp\.(up|down)_proj"},
            ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"],
        ),
        (BLOCK, ["model.layers.0", "model.layers.1"]),
        (BLOCK | {"layers_to_transform": 1}, ["model.layers.1"]),
    ],
)
def test_targets_are_found_as_peft_finds_them(settings: Any, expected: list[str], home: Path) -> None:
    model = adapted(home, **settings)
    found = [name for name, module in model.get_base_model().named_modules() if isinstance(module, GraftLayer)]
    assert found == [f"{name}.saint_graft" for name in expected]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sparse", {"entries": 4}),
        ("dictionary", {"side": 4, "blocks": 3, "codes": 2}),
        ("phi", {"rank": 2, "residual": 3}),
    ],
    ids=str,
)
def test_an_adapter_is_loaded_beside_one_that_is_not_born_yet(
    kind: str, options: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    """Loading a file goes through every part of the model, also those that the file says nothing of."""
    lora = GraftConfig(task_type="CAUSAL_LM", kind="lora", options={"rank": 2}, target_modules=["up_proj"])
    peft.get_peft_model(plain(home), lora).save_pretrained(tmp_path)
    unborn = GraftConfig(task_type="CAUSAL_LM", kind=kind, options=options, target_modules=["up_proj"])
    model = peft.get_peft_model(plain(home), unborn)
    model.load_adapter(tmp_path, "other")
    assert set(model.peft_config) == {"default", "other"}
