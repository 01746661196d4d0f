"""What PEFT would load in part, or not at all, is refused in one sentence; so is a PEFT that works otherwise."""

import enum
import json
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from saint import discovery
from saint.composition import probe_logits
from saint.errors import AdapterError, ConfigError, MissingPackageError, NewerFormatError, SiteError, UnknownNameError
from saint.grafts import Kind, Moment, Place
from saint.records import Site
from small_bases import small_model

peft = pytest.importorskip("peft", reason="grafts are added to its methods")

from saint.peft import GraftConfig, GraftModel, _register, initialise  # noqa: E402


def adapted(model: Any = None, **settings: Any) -> Any:
    config = GraftConfig(**{"task_type": "CAUSAL_LM", "kind": "phi", "options": {"rank": 2}, **settings})
    return peft.get_peft_model(model or small_model("llama"), config).eval()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"kind": "phy"}, UnknownNameError, "did you mean 'phi'"),
        ({"options": {"rnak": 2}}, ConfigError, "did you mean 'rank'"),
        ({"options": {"rank": 0}}, ConfigError, "at least 1"),
        ({"options": {"rank": 500}}, SiteError, "lower the rank"),
        ({"options": {"rank": 2, "at": {"q": {"rank": 3}}}}, ConfigError, "'q' under 'at', and the targets are model"),
        ({"target_modules": ["embed_tokens"]}, SiteError, "is a Embedding, and this kind attaches to linear maps"),
        ({"target_modules": ["layers.0"]}, SiteError, "is a LlamaDecoderLayer"),
        ({"target_modules": ["nothing"]}, ValueError, "nothing"),
        ({"kind": "block", "options": {"width": 2}, "target_modules": ["q_proj"]}, SiteError, "no Transformer block"),
        ({"schema_version": 2}, NewerFormatError, "update saint-g"),
    ],
)
@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings")
def test_a_configuration_that_cannot_be_meant(settings: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        adapted(**settings)


def test_an_adapter_that_was_never_given_weights_is_not_used() -> None:
    with pytest.raises(ConfigError, match="has no weights yet"):
        probe_logits(adapted(init_weights=False))


def test_a_kind_between_modules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Measured, "attaches_to", "insertion")
    monkeypatch.setattr(discovery, "find", lambda *_: _Measured)
    with pytest.raises(SiteError, match="attaches to insertion sites, which are no modules that PEFT can name"):
        GraftConfig(kind="measured")


def damage(folder: Path, how: str) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith(".phi"))
    match how:
        case "missing":
            del tensors[name]
        case "surplus":
            tensors[name.replace(".phi", ".psi")] = torch.zeros(1)
        case "not finite":
            tensors[name][0, 0] = torch.nan
        case "another shape":
            tensors[name] = torch.zeros(3, 3)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "disagree about .*phi"),
        ("surplus", "disagree about .*psi"),
        ("not finite", "not finite"),
        ("another shape", "for another base"),
    ],
)
def test_a_file_that_peft_would_load_with_a_warning(how: str, words: str, tmp_path: Path) -> None:
    small_model("llama").save_pretrained(tmp_path / "base")
    model = small_model("llama")
    model.name_or_path = str(tmp_path / "base")
    adapted(model).save_pretrained(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(AdapterError, match=words):
        peft.PeftModel.from_pretrained(small_model("llama"), tmp_path)


def stowaway(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'{"', b' {"', 1))


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(("how", "words"), [(stowaway, "not safetensors"), (pickled, "a pickle, which could run code")])
def test_a_file_that_peft_should_not_open(
    how: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted().save_pretrained(tmp_path)
    how(tmp_path)
    monkeypatch.setattr(peft.peft_model, "load_peft_weights", lambda *_, **__: pytest.fail("PEFT opened it"))
    with pytest.raises(AdapterError, match=words):
        peft.PeftModel.from_pretrained(small_model("llama"), tmp_path)


def test_equal_adapters_give_equal_configurations(tmp_path: Path) -> None:
    names = ["q_proj", "k_proj", "v_proj"]
    for folder, listed in (("one", names), ("other", names[::-1])):
        GraftConfig(kind="phi", options={"rank": 2}, target_modules=listed).save_pretrained(str(tmp_path / folder))
    one, other = (json.loads((tmp_path / f / "adapter_config.json").read_bytes()) for f in ("one", "other"))
    assert one == other
    assert one["target_modules"] == sorted(names)


@final
class _Measured(Kind):
    """y + s * scale * b, with the root of what was measured at the output as its scale."""

    reference: ClassVar[str] = "this test"
    formula: ClassVar[str] = "d_out"
    attaches_to: Any = "linear"
    can_fold: ClassVar[bool] = False
    examples = ({},)
    Options = make_dataclass("Options", [], frozen=True)
    scale: Tensor

    def __init__(self, site: Site, options: Any) -> None:  # noqa: ARG002
        super().__init__()
        self.b = nn.Parameter(torch.zeros(site.d_out))
        self.register_buffer("scale", torch.zeros(site.d_out))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Any) -> int:
        return site.d_out

    @override
    @classmethod
    def wants(cls, options: Any) -> frozenset[Moment]:
        return frozenset({"yy", "gg"})

    @override
    def bear(self, place: Place, generator: torch.Generator) -> None:
        assert place.signals is not None
        assert place.signals.yy is not None
        self.scale.copy_(place.signals.yy.diagonal().sqrt())

    @override
    def begin(self, place: Place) -> None:
        assert place.signals is not None
        assert place.signals.gg is not None
        with torch.no_grad():
            self.b.fill_(float(place.signals.gg.trace()))

    @override
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.strength * self.scale * self.b


def test_a_kind_that_is_born_from_text_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "find", lambda *_: _Measured)
    model = adapted(kind="measured", options={}, target_modules=["up_proj"])
    with pytest.raises(ConfigError, match=r"born from signals of text \(gg, yy\); call saint.peft.initialise"):
        probe_logits(model)
    before = probe_logits(small_model("llama").eval())
    with model.disable_adapter():
        assert torch.equal(probe_logits(model), before)
    tokens = [torch.arange(2 * 17).view(2, 17)]
    with pytest.raises(ConfigError, match="no adapter 'other'; there are default"):
        initialise(model, tokens, adapter_name="other")
    with pytest.raises(ConfigError, match="no batches were given"):
        initialise(model, [])
    initialise(model, tokens)
    assert not torch.equal(probe_logits(model), before), "it was born and has begun"
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    assert bool((layer.saint_graft.saint_graft_parts["default"].scale > 0).all())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(layer._forward_hooks) == 1, "what was measured left no hook"


def test_registering_again_changes_nothing() -> None:
    before = list(_register.PeftType)
    _register.register(GraftConfig, GraftModel)
    assert list(_register.PeftType) == before
    assert _register.PeftType("SAINT_GRAFT") is _register.PeftType.SAINT_GRAFT


@pytest.mark.parametrize("change", ["another enumeration", "no function"])
def test_a_peft_that_works_otherwise_is_named(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if change == "another enumeration":
        monkeypatch.setattr(_register, "PeftType", enum.Enum("PeftType", {"LORA": "LORA"}))  # members are no strings
    else:
        monkeypatch.setattr(_register, "PEFT_TYPE_TO_TUNER_MAPPING", {})
    with pytest.raises(MissingPackageError, match=r"peft \d.* pip install 'saint-g\[peft\]'"):
        _register.register(GraftConfig, GraftModel)
