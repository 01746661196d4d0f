"""Adapters of our own method, written and read without PEFT."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import saint
from saint.adapters import export_graft, read_adapter, to_graft
from saint.composition import compose, newborn, probe_logits
from saint.errors import AdapterError, ConfigError, ExportError, GraftFileError, NewerFormatError, UnknownNameError
from saint.grafts import Graft, assemble
from saint.models import FrozenBase
from saint.records import Candidate
from small_bases import moved, small_model


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return saint.freeze(small_model("llama"))


def graft_at(base: FrozenBase, role: str, kind: str, **options: Any) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role)
    graft = moved(newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=2)))
    graft.set_strength(0.75)
    return graft


@pytest.mark.parametrize(
    ("role", "kind", "options"),
    [("q", "phi", {"rank": 3}), ("up", "lora", {"rank": 2}), ("block", "block", {"width": 3})],
)
def test_a_graft_survives_the_trip(role: str, kind: str, options: Any, base: FrozenBase, tmp_path: Path) -> None:
    graft = graft_at(base, role, kind, **options)
    export_graft(base, [graft], tmp_path / "adapter")
    again = to_graft(base, read_adapter(tmp_path / "adapter"))
    assert again.to_bytes() == graft.to_bytes()
    assert again.candidate.sites == graft.candidate.sites
    assert again.strength == 0.75
    assert torch.equal(probe_logits(compose(base, [again])), probe_logits(compose(base, [graft])))


def test_half_precision_is_widened(base: FrozenBase, tmp_path: Path) -> None:
    graft = graft_at(base, "up", "lora", rank=2)
    export_graft(base, [graft], tmp_path / "adapter")
    rewrite(tmp_path, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    narrow = to_graft(base, read_adapter(tmp_path / "adapter"))
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.float32}
    torch.testing.assert_close(
        probe_logits(compose(base, [narrow])), probe_logits(compose(base, [graft])), rtol=0.05, atol=0.05
    )


def test_what_is_no_adapter_is_not_exported(base: FrozenBase, tmp_path: Path) -> None:
    graft = graft_at(base, "q", "phi", rank=2)
    for stack in ([], [graft, graft]):
        with pytest.raises(ExportError, match="name it with --graft"):
            export_graft(base, stack, tmp_path / "adapter")
    tmp_path.joinpath("adapter").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        export_graft(base, [graft], tmp_path / "adapter")


def reconfigure(folder: Path, **changes: Any) -> None:
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    file = folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"schema_version": 2}, NewerFormatError, "update saint-g"),
        ({"schema_version": None}, AdapterError, "expected 1"),
        ({"modules_to_save": ["lm_head"]}, AdapterError, "train without modules_to_save"),
        ({"kind": "phy"}, UnknownNameError, "did you mean 'phi'"),
        ({"kind": 3}, ConfigError, "kind"),
        ({"options": {"rank": 4}}, AdapterError, "is torch.float32"),
        ({"options": {"rnak": 4}}, ConfigError, "did you mean 'rank'"),
        ({"kind": "block", "options": {"width": 2}}, AdapterError, "a Linear, which is no block site"),
        ({"strength": "all"}, ConfigError, "strength"),
        ({"strength": 1e300}, AdapterError, "strength 1e.300, more than 32 bits hold"),
    ],
    ids=str,
)
def test_a_record_that_cannot_be_meant(
    changes: Mapping[str, Any], error: type[Exception], words: str, base: FrozenBase, tmp_path: Path
) -> None:
    export_graft(base, [graft_at(base, "q", "phi", rank=2)], tmp_path / "adapter")
    reconfigure(tmp_path, **changes)
    with pytest.raises(error, match=words):
        to_graft(base, read_adapter(tmp_path / "adapter"))


PHI = "base_model.model.model.layers.0.self_attn.q_proj.saint_graft.saint_graft_parts.phi"


def put(tensors: dict[str, Tensor], name: str) -> None:
    tensors[name] = torch.zeros(2)


def lose(tensors: dict[str, Tensor], name: str) -> None:
    del tensors[name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (partial(lose, name=PHI), "'phi' is missing or one too many"),
        (partial(put, name=PHI.replace(".phi", ".psi")), "'psi' is missing or one too many"),
        (partial(put, name="base_model.model.lm_head.weight"), "is no part of a graft"),
        (partial(put, name=PHI.replace("layers.0", "layers.9")), "this adapter is for another base"),
        (partial(put, name=PHI), "expected torch.float32"),
    ],
)
def test_a_file_that_is_not_the_graft(change: Any, words: str, base: FrozenBase, tmp_path: Path) -> None:
    export_graft(base, [graft_at(base, "q", "phi", rank=2)], tmp_path / "adapter")
    rewrite(tmp_path, change)
    with pytest.raises(AdapterError, match=words):
        to_graft(base, read_adapter(tmp_path / "adapter"))


def test_a_graft_is_not_assembled_from_what_is_not_finite(base: FrozenBase) -> None:
    graft = graft_at(base, "q", "phi", rank=2)
    state = {key: dict(part.state_dict()) for key, part in graft.parts.items()}
    assert assemble(graft.candidate, state, strength=0.75).to_bytes() == graft.to_bytes()
    numbers = next(iter(state.values()))
    numbers["phi"] = torch.full_like(numbers["phi"], torch.nan)
    with pytest.raises(GraftFileError, match="not finite"):
        assemble(graft.candidate, state)
