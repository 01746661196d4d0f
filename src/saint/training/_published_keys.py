"""Keys of the published settings files that have another name here, mean what is done anyway, or cannot be met."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from saint.errors import ConfigError

_RENAMED: Mapping[str, str] = MappingProxyType({"compile_model": "compile"})
_RENAMED_OF_A_DRM: Mapping[str, str] = MappingProxyType(
    {
        "lambda_metric_reg": "metric_size_weight",
        "lambda_ortho": "orthogonality_weight",
        "lambda_metric_diversity": "spread_weight",
        "target_metric_var": "spread_target",
    }
)
_FIXED: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "fsdp_sharding": ("full", "a model is divided whole, weights and gradients and moments, or not at all"),
        "distributed": (True, "there are as many processes as torchrun started"),
    }
)
_FIXED_OF_A_DRM: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "bias": (False, "linear maps in blocks have no bias"),
        "n_quad": (0, "distances are taken from the metric at the query, with no points on the way"),
        "quad_points": (0, "distances are taken from the metric at the query, with no points on the way"),
        "distance_mode": ("local", "distances are taken from the metric at the query, with no points on the way"),
    }
)
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "early_stopping_patience": "a run is as long as total_tokens, which the learning rate follows",
        "early_stop_patience": "a run is as long as total_tokens, which the learning rate follows",
        "eval_data_dir": "what is held out is the split val of data_dir",
        "data_max_tokens": "saint data prepare --derive-subset-from makes a smaller text, in all its languages",
        "num_workers": "text is mapped into memory, and needs no processes that load it",
        "eval_num_workers": "text is mapped into memory, and needs no processes that load it",
    }
)
_SHAPE = "penalties on the shape of the manifold are not built, for the published torus was put there by its penalty"
_REFUSED_OF_A_DRM: Mapping[str, str] = MappingProxyType(
    {
        "metric_diversity_warmup_steps": "the penalty that lambda_metric_diversity weights acts from the first step on",
        **dict.fromkeys(("target_manifold_std", "target_intrinsic_dim", "target_coverage_std"), _SHAPE),
    }
)
_WARMUPS = {"warmup_steps", "warmup_tokens"}
_SHAPE_BEGINNINGS = ("torus_", "geometry_", "lambda_")


def in_our_words(found: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the changes made to them, under the names that this system has for them.

    Without a `model_type`, settings with a `d_manifold` are those of a DRM, as in the published files.

    Raises:
        ConfigError: A key is given under both names, asks for something that does not exist here, or cannot be counted.
    """
    both = {**found, **changes}
    is_drm = both.get("model_type", "drm" if "d_manifold" in both else None) == "drm"
    ours, changed = _renamed(found, is_drm=is_drm), _renamed(changes, is_drm=is_drm)
    if _WARMUPS & changed.keys():
        ours = {key: value for key, value in ours.items() if key not in _WARMUPS}
    ours = {**({"model_type": "drm"} if is_drm else {}), **ours, **changed}
    if ours.get("mixed_precision") == "none":
        ours["mixed_precision"] = "fp32"
    return _with_warmup_in_tokens(ours)


def _renamed(found: Mapping[str, Any], *, is_drm: bool) -> dict[str, Any]:
    names = {**_RENAMED, **(_RENAMED_OF_A_DRM if is_drm else {})}
    fixed = {**_FIXED, **(_FIXED_OF_A_DRM if is_drm else {})}
    ours: dict[str, Any] = {}
    for key, value in found.items():
        name = names.get(key, key)
        if name != key and name in found:
            raise ConfigError(f"{key} and {name} are both given, which are one setting; leave {key} out")
        only, reason = fixed.get(key, (None, _why_not(key, is_drm=is_drm)))
        if reason is not None and (key not in fixed or value != only):
            raise ConfigError(f"{key} is {value!r}, but {reason}; leave {key} out")
        if key not in fixed:
            ours[name] = value
    return ours


def _why_not(key: str, *, is_drm: bool) -> str | None:
    if key in _REFUSED or not is_drm:
        return _REFUSED.get(key)
    if key.startswith(_SHAPE_BEGINNINGS) and key not in _RENAMED_OF_A_DRM:
        return _SHAPE
    return _REFUSED_OF_A_DRM.get(key)


def _with_warmup_in_tokens(ours: dict[str, Any]) -> dict[str, Any]:
    """With `warmup_steps` as the tokens of so many steps of this run."""
    if "warmup_steps" not in ours:
        return ours
    if "warmup_tokens" in ours:
        raise ConfigError("warmup_steps and warmup_tokens are both given, which are one setting; leave one out")
    sizes = {key: ours.get(key, 1) for key in ("warmup_steps", "gradient_accumulation_steps")}
    sizes |= {"batch_size": ours.get("batch_size"), "seq_len": ours.get("seq_len", ours.get("max_seq_len"))}
    tokens = 1
    for key, value in sizes.items():
        if not isinstance(value, int):
            raise ConfigError(f"{key} is {value!r}; to count the tokens of warmup_steps it must be a whole number")
        tokens *= value
    return {**{key: value for key, value in ours.items() if key != "warmup_steps"}, "warmup_tokens": tokens}
