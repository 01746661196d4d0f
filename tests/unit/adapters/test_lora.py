"""LoRA adapters that plain PEFT wrote, as grafts that say the same."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import saint
from saint import discovery
from saint.adapters import check_origin, read_adapter, to_graft
from saint.adapters._targets import pattern_value, targets
from saint.composition import compose, export_peft, probe_logits
from saint.errors import AdapterError, BaseModelError, SaintError, SiteError
from saint.models import FrozenBase
from saint.records import Site
from saint.testing import assert_base_untouched
from small_bases import small_model

peft = pytest.importorskip("peft", reason="the adapters are made by plain PEFT")

pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to"),
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True."),
]


Spoilt = tuple[FrozenBase, Path]


def made(folder: Path, architecture: str = "llama", **settings: Any) -> FrozenBase:
    """A base in `folder`/base, and beside it an adapter for it as training could have left it."""
    small_model(architecture).save_pretrained(folder / "base")
    family = AutoModelForSeq2SeqLM if architecture.startswith("t5") else AutoModelForCausalLM
    config = peft.LoraConfig(**{"r": 3, "lora_alpha": 6, "target_modules": "all-linear", **settings})
    model = peft.get_peft_model(family.from_pretrained(folder / "base"), config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return saint.freeze(folder / "base")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    """A base and where it lies, with an adapter at every linear map beside it."""
    folder = tmp_path_factory.mktemp("ready")
    return made(folder), folder


@pytest.fixture
def spoilt(ready: Spoilt, tmp_path: Path) -> Spoilt:
    """The same, for a test that is going to change the adapter."""
    shutil.copytree(ready[1] / "adapter", tmp_path / "adapter")
    return ready[0], tmp_path


def by_peft(folder: Path) -> Tensor:
    config = json.loads((folder / "base" / "config.json").read_text(encoding="utf-8"))
    family = AutoModelForSeq2SeqLM if config.get("is_encoder_decoder") else AutoModelForCausalLM
    return probe_logits(peft.PeftModel.from_pretrained(family.from_pretrained(folder / "base"), folder / "adapter"))


def assert_same(base: FrozenBase, folder: Path) -> Any:
    graft = to_graft(base, read_adapter(folder / "adapter"))
    composed = probe_logits(compose(base, [graft]))
    assert float((composed - probe_logits(base.model)).abs().max()) > 1e-2
    torch.testing.assert_close(composed, by_peft(folder), rtol=1e-5, atol=1e-5)
    assert_base_untouched(base)
    return graft


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama", "qwen2", "t5_gated"])
def test_the_graft_answers_as_peft_does(architecture: str, tmp_path: Path) -> None:
    assert_same(made(tmp_path, architecture), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, r"layers\.1\..*v_proj": 5}, "alpha_pattern": {"up_proj": 1}},
        {"rank_pattern": {"q_proj": 2}, "use_rslora": True, "init_lora_weights": "gaussian"},
        {"target_modules": ["q_proj", "layers.1.mlp.up_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": r".*\.(k|down)_proj", "lora_dropout": 0.5},
        {"target_modules": ["lm_head", "o_proj"]},
    ],
    ids=str,
)
def test_every_way_of_saying_where_and_how_much(settings: Mapping[str, Any], tmp_path: Path) -> None:
    assert_same(made(tmp_path, **settings), tmp_path)


def test_what_we_export_comes_back(tmp_path: Path) -> None:
    base = made(tmp_path, rank_pattern={"q_proj": 2})
    graft = to_graft(base, read_adapter(tmp_path / "adapter"))
    graft.set_strength(0.5)
    export_peft(base, [graft], tmp_path / "again")
    again = to_graft(base, read_adapter(tmp_path / "again"))
    torch.testing.assert_close(probe_logits(compose(base, [again])), probe_logits(compose(base, [graft])))


def test_options_are_said_once_and_exceptions_by_site(tmp_path: Path) -> None:
    graft = assert_same(made(tmp_path, rank_pattern={"layers.0.self_attn.q_proj": 1}), tmp_path)
    exception = {"model.layers.0.self_attn.q_proj": {"rank": 1, "alpha": 6.0}}
    assert graft.candidate.options == {"rank": 3, "alpha": 6.0, "at": exception}


def reconfigure(folder: Path, **changes: Any) -> None:
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    file = folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


Q = "base_model.model.model.layers.0.self_attn.q_proj"


def lose_half(tensors: dict[str, Tensor]) -> None:
    del tensors[f"{Q}.lora_A.weight"]


def lose_a_site(tensors: dict[str, Tensor]) -> None:
    lose_half(tensors)
    del tensors[f"{Q}.lora_B.weight"]


def put(tensors: dict[str, Tensor], name: str, value: Tensor) -> None:
    tensors[name] = value


def rename(tensors: dict[str, Tensor], old: str, new: str) -> None:
    for name in [name for name in tensors if old in name]:
        tensors[name.replace(old, new)] = tensors.pop(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "VERA"}, "type VERA, which no graft can say; LORA and SAINT_GRAFT can be taken"),
        ({"modules_to_save": ["lm_head"]}, r"sets modules_to_save to \['lm_head'\]"),
        ({"bias": "all"}, "sets bias to 'all'"),
        ({"lora_bias": True}, "sets lora_bias"),
        ({"use_qalora": True}, "sets use_qalora"),
        ({"alora_invocation_tokens": [1, 2]}, "sets alora_invocation_tokens"),
        ({"trainable_token_indices": [1]}, "sets trainable_token_indices"),
        ({"target_parameters": ["weight"]}, "sets target_parameters"),
        ({"layer_replication": [[0, 2]]}, "sets layer_replication"),
        ({"use_something_new": {"a": 1}}, "sets use_something_new"),
        ({"init_lora_weights": "pissa_niter_16"}, "changes the base's own weights.*path_initial_model"),
        ({"init_lora_weights": "olora"}, "changes the base's own weights"),
        ({"init_lora_weights": "corda"}, "changes the base's own weights"),
        ({"r": 4}, r"shape \(3, 32\) .* rank 4"),
        ({"rank_pattern": {"a{99999999999}": 1}}, "no regular expression"),
        ({"target_modules": ["k_proj"]}, "has a LoRA at .*down_proj, and its target_modules does not name it"),
        ({"target_modules": None}, "target_modules is None"),
        ({"target_modules": "["}, "no regular expression"),
        ({"target_modules": "a{99999999999}"}, "no regular expression"),
        ({"target_modules": "(" * 5000}, "no regular expression"),
        (
            {"layers_pattern": "(", "layers_to_transform": [0], "target_modules": ["q_proj"]},
            "layers_pattern is no regular",
        ),
        ({"rank_pattern": {"(": 1}}, "no regular expression"),
        ({"peft_type": None}, "does not name a peft_type"),
    ],
    ids=str,
)
def test_a_configuration_that_no_graft_can_say(changes: Mapping[str, Any], words: str, spoilt: Spoilt) -> None:
    base, folder = spoilt
    reconfigure(folder, **changes)
    with pytest.raises(AdapterError, match=words):
        to_graft(base, read_adapter(folder / "adapter"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": "many"}, "has r 'many', where a whole number above 0"),
        ({"r": True}, "has r True"),
        ({"r": 0}, "has r 0"),
        ({"r": 3.5}, "has r 3.5"),
        ({"lora_alpha": "6"}, "has lora_alpha '6', where a number"),
        ({"lora_alpha": False}, "has lora_alpha False"),
        ({"lora_alpha": 1e300}, "has lora_alpha 1e.300, where a number of 32 bits"),
        ({"rank_pattern": ["q_proj"]}, r"has rank_pattern \['q_proj'\], where a table"),
        ({"rank_pattern": {"q_proj": "2"}}, "has rank_pattern {'q_proj': '2'}"),
        ({"rank_pattern": {"q_proj": -1}}, "whole numbers above 0"),
        ({"alpha_pattern": [1]}, r"has alpha_pattern \[1\], where a table of numbers"),
        ({"alpha_pattern": {"q_proj": None}}, "has alpha_pattern {'q_proj': None}"),
        ({"layers_to_transform": "1"}, "has layers_to_transform '1', where a number or a list of numbers"),
        ({"layers_to_transform": [0, "1"]}, "has layers_to_transform"),
        ({"layers_pattern": 3}, "has layers_pattern 3, where a name or a list of names"),
        ({"layers_pattern": [3]}, "has layers_pattern"),
        ({"target_modules": 3}, "has target_modules 3, where a list of names, or a regular expression"),
        ({"target_modules": [3]}, "has target_modules"),
        ({"target_modules": {"q_proj": 1}}, "has target_modules"),
        ({"exclude_modules": 3}, "has exclude_modules 3"),
        ({"use_rslora": "no"}, "has use_rslora 'no', where true or false"),
        ({"use_dora": 1}, "has use_dora 1"),
        ({"base_model_name_or_path": 3}, "has base_model_name_or_path 3, where the name of a model"),
        ({"revision": 3}, "has revision 3"),
        ({"peft_type": ["LORA"]}, "does not name a peft_type"),
        ({"peft_type": "VERA", "base_model_name_or_path": ["a"]}, "has base_model_name_or_path"),
    ],
    ids=str,
)
def test_a_field_of_another_type_is_refused_where_it_is_read(
    changes: Mapping[str, Any], words: str, spoilt: Spoilt
) -> None:
    reconfigure(spoilt[1], **changes)
    with pytest.raises(AdapterError, match=f"adapter_config.json.* {words}") as refused:
        read_adapter(spoilt[1] / "adapter")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["r", "lora_alpha"])
def test_a_lora_without_its_scale_is_refused(name: str, spoilt: Spoilt) -> None:
    file = spoilt[1] / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    del config[name]
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(AdapterError, match=f"lacks {name}, where a .*number.* is expected"):
        read_adapter(spoilt[1] / "adapter")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose_half, r"lacks model.layers.0.self_attn.q_proj\.lora_A.weight"),
        (lose_a_site, "has no LoRA at model.layers.0.self_attn.q_proj, and its target_modules names it"),
        (partial(put, name=f"{Q}.lora_B.bias", value=torch.zeros(32)), "no LoRA matrix of a linear map"),
        (
            partial(put, name="base_model.model.model.embed_tokens.lora_embedding_A", value=torch.zeros(3, 96)),
            "without embeddings, biases or whole modules",
        ),
        (partial(put, name="base_model.model.lm_head.weight", value=torch.zeros(1)), "no LoRA matrix"),
        (partial(put, name="lm_head.weight", value=torch.zeros(1)), "PEFT's begin with 'base_model.model.'"),
        (partial(put, name=f"{Q}.lora_A.weight", value=torch.full((3, 32), torch.inf)), "not finite"),
        (
            partial(put, name=f"{Q}.lora_A.weight", value=torch.zeros(3, 32).to(torch.float8_e4m3fn)),
            "this reads F64, F32",
        ),
        (
            partial(put, name=f"{Q}.lora_A.weight", value=torch.zeros(3, 32, dtype=torch.complex64)),
            "this reads F64, F32",
        ),
        (partial(put, name=f"{Q}.lora_A.weight", value=torch.zeros(3, 16)), "this adapter is for another base"),
        (partial(put, name=f"{Q}.lora_A.weight", value=torch.zeros(3, 32, 1, 1)), "this adapter is for another base"),
        (partial(rename, old="layers.0", new="layers.7"), "no such module; this adapter is for another base"),
        (partial(rename, old="0.self_attn.q_proj", new="0.input_layernorm"), "a LlamaRMSNorm, which is no linear site"),
        (dict.clear, "holds no tensor"),
    ],
)
def test_a_file_that_is_not_the_whole_adapter(change: Any, words: str, spoilt: Spoilt) -> None:
    base, folder = spoilt
    rewrite(folder, change)
    with pytest.raises(AdapterError, match=words):
        to_graft(base, read_adapter(folder / "adapter"))


def test_dora_is_a_graft_where_there_is_a_kind_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = made(tmp_path, use_dora=True, use_rslora=True)
    if "dora" in discovery.names("grafts"):
        assert assert_same(base, tmp_path).candidate.kind == "dora"
    monkeypatch.setattr(discovery, "names", lambda _room: ["lora", "phi"])
    with pytest.raises(AdapterError, match="sets use_dora, and no kind of graft called dora is installed"):
        to_graft(base, read_adapter(tmp_path / "adapter"))


def test_a_rank_above_the_site_is_refused_by_the_kind(tmp_path: Path) -> None:
    base = made(tmp_path, r=40)
    with pytest.raises(SiteError, match="rank 40 exceeds"):
        to_graft(base, read_adapter(tmp_path / "adapter"))


def without(folder: Path, name: str) -> None:
    (folder / "adapter" / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "adapter" / "adapter_model.safetensors").rename(folder / "adapter" / "adapter_model.bin")


def overwritten(folder: Path, name: str, text: str) -> None:
    (folder / "adapter" / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (partial(without, name="adapter_config.json"), "has no adapter_config.json"),
        (partial(without, name="adapter_model.safetensors"), "has no adapter_model.safetensors"),
        (pickled, r"a pickle, which could run code; .*safe_serialization=True"),
        (partial(overwritten, name="adapter_config.json", text="{"), "cannot be read"),
        (partial(overwritten, name="adapter_config.json", text='{"r": NaN}'), "NaN is no number"),
        (partial(overwritten, name="adapter_config.json", text="[]"), "does not name a peft_type"),
        (partial(overwritten, name="adapter_config.json", text='"LORA"'), "does not name a peft_type"),
        (partial(overwritten, name="adapter_config.json", text="[" * 200_000), "cannot be read"),
        (partial(overwritten, name="adapter_config.json", text='{"a": "\\ud800"}'), "cannot be read"),
        (partial(overwritten, name="adapter_model.safetensors", text="no tensors"), "is not safetensors"),
    ],
)
def test_a_folder_that_is_no_adapter(damage: Callable[[Path], None], words: str, spoilt: Spoilt) -> None:
    _, folder = spoilt
    damage(folder)
    with pytest.raises(AdapterError, match=words):
        read_adapter(folder / "adapter")


def test_a_path_that_leads_to_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "adapter"
    file.write_text("a file", encoding="utf-8")
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        read_adapter(file)
    with pytest.raises(AdapterError, match="cannot be read"):
        read_adapter(tmp_path / ("a" * 5000))


def test_the_base_it_names_is_compared(tmp_path: Path) -> None:
    base = made(tmp_path)
    assert check_origin(base, read_adapter(tmp_path / "adapter")) == "identity"
    copied = saint.freeze(small_model("llama"))
    assert check_origin(copied, read_adapter(tmp_path / "adapter")) == "identity", "its folder is frozen and compared"
    other = saint.freeze(small_model("llama", seed=1))
    for same_base in (False, True):
        with pytest.raises(AdapterError, match=r"is for the base in .*which is another one.*weights with digest"):
            check_origin(other, read_adapter(tmp_path / "adapter"), same_base=same_base)
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(BaseModelError):
        check_origin(other, read_adapter(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_model_name_or_path": "somebody/base"}, "says it is for 'somebody/base', and"),
        ({"base_model_name_or_path": "somebody/base", "revision": "v2"}, "for 'somebody/base' at revision v2"),
        ({"base_model_name_or_path": None}, "for a base that it does not name"),
        ({"base_model_name_or_path": ""}, "for a base that it does not name"),
        ({"base_model_name_or_path": "a" * 5000}, "says it is for 'aaa"),
    ],
)
def test_a_base_that_is_not_at_hand_is_believed_only_on_ones_word(changes: Any, words: str, spoilt: Spoilt) -> None:
    base, folder = spoilt
    reconfigure(folder, **changes)
    adapter = read_adapter(folder / "adapter")
    with pytest.raises(AdapterError, match=f"{words}.*--same-base"):
        check_origin(base, adapter)
    assert check_origin(base, adapter, same_base=True) == "said"


def test_the_same_name_on_the_hub_is_enough(tmp_path: Path) -> None:
    made(tmp_path)
    hub = saint.models.FrozenBase(**{**vars(saint.freeze(small_model("llama"))), "source": "somebody/base"})
    reconfigure(tmp_path, base_model_name_or_path="somebody/base")
    assert check_origin(hub, read_adapter(tmp_path / "adapter")) == "name"
    reconfigure(tmp_path, base_model_name_or_path="somebody/base", revision="v2")
    with pytest.raises(SaintError, match="at revision v2"):
        check_origin(hub, read_adapter(tmp_path / "adapter"))


NAMES = [
    f"{start}layers.{index}.{leaf}"
    for start in ("", "model.", "model.decoder.", "model.layers.3.sub")
    for index in (0, 1, 11)
    for leaf in ("attn.q_proj", "mlp.experts.1.up_proj", "q_proj", "xq_proj")
] + ["lm_head", "h.0.q_proj"]
WORDS = st.sampled_from(["q_proj", "up_proj", "attn.q_proj", "layers.1.attn.q_proj", "lm_head", "h.0.q_proj", "proj"])
PATTERNS = st.sampled_from([r".*q_proj", r"model\..*\.1\..*", r".*(up|q)_proj$", "q_proj", r"model\.layers\.1\..*"])


@given(
    target=st.lists(WORDS, min_size=1) | PATTERNS,
    exclude=st.none() | st.lists(WORDS) | PATTERNS,
    layers=st.none() | st.integers(0, 2) | st.lists(st.sampled_from([0, 1, 11])),
    pattern=st.none() | st.sampled_from(["layers", "experts", ["h", "layers"]]),
)
def test_targets_are_those_of_peft(target: Any, exclude: Any, layers: Any, pattern: Any) -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    if isinstance(target, str):
        layers = pattern = None  # PEFT refuses them beside a regular expression
    config = {"target_modules": target, "exclude_modules": exclude, "layers_to_transform": layers}
    theirs = peft.LoraConfig(**config, layers_pattern=pattern if layers is not None else None)
    sites = [Site(sort="linear", module=name, role="other", depth=0, d_in=1, d_out=1) for name in NAMES]
    found = [site.module for site in targets({**config, "layers_pattern": pattern}, sites)]
    expected = [name for name in NAMES if (hit := check_target_module_exists(theirs, name)) and not is_excluded(hit)]
    assert found == expected


def is_excluded(hit: Any) -> bool:
    return type(hit).__name__ == "_ExcludedModule"


@given(patterns=st.dictionaries(WORDS | PATTERNS, st.integers(1, 9)), module=st.sampled_from(NAMES))
def test_patterns_are_read_as_peft_reads_them(patterns: dict[str, int], module: str) -> None:
    from peft.utils.other import get_pattern_key

    assert pattern_value(patterns, module, 99) == patterns.get(get_pattern_key(patterns, module), 99)
