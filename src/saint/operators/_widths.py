"""More channels in MLPs and more heads in attention: which rows and columns that is."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from saint.errors import ConfigError
from saint.operators._parts import Block, Parts

_UP = ("mlp.up_proj", "mlp.gate_proj")


def wanted_inner(parts: Parts, times: float) -> int:
    """How many channels an MLP has, so many times as wide.

    Raises:
        ConfigError: There would be no more, or the configuration does not say how wide it is.
    """
    inner = getattr(parts.config, "intermediate_size", None)
    if not isinstance(inner, int):
        raise ConfigError(f"{parts.config.model_type} does not say its intermediate_size, so no channel can be added")
    return _times("inner", inner, times)


def wanted_groups(parts: Parts, times: float) -> int:
    """How many groups of heads that share a key and a value there are, so many times as many.

    Raises:
        ConfigError: There would be no more, or a head's width follows from the number of heads.
    """
    if times > 1 and not isinstance(parts.config.to_dict().get("head_dim"), int):
        raise ConfigError(
            f"{parts.config.model_type} has no head_dim of its own, so with more heads each would be narrower; set "
            "heads to 1"
        )
    return _times("heads", _groups(parts.config), times)


def _times(name: str, before: int, times: float) -> int:
    after = round(before * times)
    if times < 1 or (times > 1 and after == before):
        raise ConfigError(
            f"{name} is {times:g}, which makes {after} of {before}; operators make models larger: give 1 to leave them "
            f"as they are, or {(before + 1) / before:.3g} at least"
        )
    return after


def widen_inner(config: Any, blocks: list[Block], chosen: list[Int64[Tensor, " wanted"]]) -> None:
    """Give each block's MLP the channels that were chosen for it from those that it has; ways down are left alone."""
    for block, units in zip(blocks, chosen, strict=True):
        for name in _UP:
            for part in ("weight", "bias"):
                if (stored := block.get(f"{name}.{part}")) is not None:
                    block[f"{name}.{part}"] = stored[units]
    config.intermediate_size = len(chosen[0])


def widen_heads(config: Any, blocks: list[Block], chosen: list[Int64[Tensor, " wanted"]]) -> None:
    """Give each block the groups of heads that were chosen from those that it has; ways out are left alone."""
    queries, keys = heads_of(config)
    for block, groups in zip(blocks, chosen, strict=True):
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            for part in ("weight", "bias"):
                if (stored := block.get(f"self_attn.{name}.{part}")) is not None:
                    block[f"self_attn.{name}.{part}"] = stored[spread(groups, rows)]
    before, num = _groups(config), len(chosen[0])
    config.num_attention_heads = config.num_attention_heads // before * num
    config.num_key_value_heads = config.num_key_value_heads // before * num


def heads_of(config: Any) -> tuple[int, int]:
    """(rows of queries, rows of keys and values) of a group of heads."""
    groups, width = _groups(config), int(config.head_dim)
    return config.num_attention_heads // groups * width, config.num_key_value_heads // groups * width


def spread(groups: Int64[Tensor, " wanted"], rows: int) -> Int64[Tensor, " rows"]:
    """The rows of these groups, where each has so many."""
    return (groups[:, None] * rows + torch.arange(rows)).flatten()


def shares(units: Int64[Tensor, " wanted"]) -> Tensor:
    """One divided by how often each unit was chosen, in float64: (wanted,)."""
    return 1.0 / torch.bincount(units)[units].double()


def _groups(config: Any) -> int:
    """Heads that share a key and a value are one group."""
    return int(config.num_key_value_heads)
