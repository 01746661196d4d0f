"""LoRA and DoRA as PEFT writes them, with rank and alpha patterns and rank-stabilised scaling; no more than that."""

from collections import defaultdict
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from saint import discovery
from saint.adapters._files import Adapter
from saint.adapters._sites import sites_of
from saint.adapters._targets import pattern_value, targets
from saint.errors import AdapterError
from saint.grafts import Graft, assemble
from saint.models import FrozenBase, float_weight
from saint.records import Candidate, Site

# fmt: off
_UNDERSTOOD = frozenset((
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "init_lora_weights", "base_model_name_or_path", "revision", "use_dora",
))
_WITHOUT_EFFECT = frozenset((  # on what a trained adapter computes
    "peft_type", "task_type", "auto_mapping", "peft_version", "inference_mode", "lora_dropout", "fan_in_fan_out",
    "megatron_core", "qalora_group_size", "runtime_config", "eva_config", "corda_config", "lora_ga_config",
    "loftq_config",
))
_KEEPS_THE_BASE = (True, False, "gaussian", "eva", "orthogonal", "mica")
# fmt: on
_LORA = {".lora_A.weight": "a", ".lora_B.weight": "b"}
_DORA = {**_LORA, ".lora_magnitude_vector": "m"}


def lora_graft(base: FrozenBase, adapter: Adapter) -> Graft:
    """A graft of kind `lora`, or `dora`, with the adapter's matrices and its scale at each site.

    Raises:
        AdapterError: It says more than LoRA does, is incomplete, or does not fit this base.
    """
    _check(adapter)
    kind, names = ("dora", _DORA) if adapter.config.get("use_dora") else ("lora", _LORA)
    state = _matrices(adapter, names)
    sites = sites_of(base, "linear", state, adapter.folder)
    expected = {site.module for site in targets(adapter.config, base.sites()) if site.sort == "linear"}
    if differing := sorted(expected ^ state.keys()):
        there, said = ("no", "names it") if differing[0] in expected else ("a", "does not name it")
        raise AdapterError(
            f"{adapter.folder} has {there} LoRA at {differing[0]}, and its target_modules {said}; the file is not the "
            "whole adapter, or it is for another base"
        )
    options = {site.key: _options(adapter, site) for site in sites}
    for site in sites:
        _check_shapes(adapter.folder, site, options[site.key]["rank"], state[site.module])
        if kind == "dora":  # which keeps the rows' lengths as what they differ by from the base's
            weight = float_weight(base.model.get_submodule(site.module)).float()
            state[site.module]["m"] = state[site.module]["m"].to(weight.device) - weight.norm(dim=1)
    candidate = Candidate(sites=tuple(sites), kind=kind, options=_shared(options))
    return assemble(candidate, {site.key: state[site.module] for site in sites})


def _check(adapter: Adapter) -> None:
    """Refuse every setting that changes what the adapter computes and that no graft of kind `lora` has."""
    for key, value in adapter.config.items():
        if key in _UNDERSTOOD | _WITHOUT_EFFECT or not value or (key, value) == ("bias", "none"):
            continue
        raise AdapterError(
            f"{adapter.folder} sets {key} to {value!r}, which no graft of kind lora can say; train a LoRA without it"
        )
    if adapter.config.get("use_dora") and "dora" not in discovery.names("grafts"):
        raise AdapterError(f"{adapter.folder} sets use_dora, and no kind of graft called dora is installed")
    start = adapter.config.get("init_lora_weights", True)
    if start not in _KEEPS_THE_BASE:
        raise AdapterError(
            f"{adapter.folder} was begun with init_lora_weights={start!r}, which changes the base's own weights, so it "
            "does not stand on this base; let PEFT turn it into plain LoRA with "
            "save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )


def _matrices(adapter: Adapter, names: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """Module -> `a` (rank, d_in), `b` (d_out, rank) and, for DoRA, the magnitude `m` (d_out,), in float32.

    Args:
        names: How the adapter's tensors end -> what the kind calls them.
    """
    state: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in adapter.tensors.items():
        ending = next((ending for ending in names if name.endswith(ending)), None)
        if ending is None:
            raise AdapterError(
                f"{adapter.folder} has a tensor {name!r}, which is no LoRA matrix of a linear map; train an adapter of "
                "linear maps alone, without embeddings, biases or whole modules"
            )
        state[name.removesuffix(ending)][names[ending]] = tensor.float()
    for module, there in state.items():
        if lacking := [ending for ending, name in names.items() if name not in there]:
            raise AdapterError(f"{adapter.folder} lacks {module}{lacking[0]}; fetch or save the adapter again")
    return dict(state)


def _options(adapter: Adapter, site: Site) -> dict[str, Any]:
    """Rank and alpha of the site; the scale of rank-stabilised LoRA, alpha / sqrt(rank), in terms of alpha / rank."""
    settings = adapter.config
    rank = pattern_value(settings.get("rank_pattern") or {}, site.module, settings["r"])
    alpha = pattern_value(settings.get("alpha_pattern") or {}, site.module, settings["lora_alpha"])
    return {"rank": rank, "alpha": float(alpha) * (sqrt(rank) if settings.get("use_rslora") else 1.0)}


def _check_shapes(folder: Path, site: Site, rank: int, there: Mapping[str, Tensor]) -> None:
    expected = {"a": (rank, site.d_in), "b": (site.d_out, rank), "m": (site.d_out,)}
    for name, tensor in there.items():
        if tuple(tensor.shape) != expected[name]:
            raise AdapterError(
                f"{folder} has a matrix {name} of shape {tuple(tensor.shape)} at {site.module}, where rank {rank} and "
                f"the base's {site.d_out} x {site.d_in} ask for {expected[name]}; this adapter is for another base"
            )


def _shared(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The most common options, and under `at` those of the sites that differ."""
    listed = list(options.values())
    common = max(listed, key=listed.count)
    others = {key: dict(chosen) for key, chosen in options.items() if chosen != common}
    return {**common, **({"at": others} if others else {})}
