"""What it saves not to compute the frozen blocks below, for grafts in the last third of the blocks.

Ratios are asked of residual blocks as wide as the stream, one after each block there, as the targets were measured with
such. LoRA at every linear map there computes more besides, in thin products, and is shown next to them.
"""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks.search import steps
from benchmarks.search.base import random_base, splits
from benchmarks.search.engine import EngineSteps
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting, Width, called
from benchmarks.search.timing import take_turns
from saint.data import Splits
from saint.models import FrozenBase, forward_cost
from saint.records import Candidate
from saint.training import StepCost

_CACHED = "cached prefix"


def measure(setting: Setting) -> Findings:
    """Ratios at the widths that they were asked for, and operations against the cost model."""
    found, data = Findings(setting=setting), splits(setting)
    for width in get_args(Width):
        _against_hooks(found, setting, data, width)
    _in_few_bits(found, setting, data, "large")
    return found


def _against_hooks(found: Findings, setting: Setting, data: Splits, width: Width) -> None:
    base, batches = random_base(setting, data, width), steps.batches_of(setting, data)
    d_model = setting.d_model(width)
    blocks = steps.blocks_at(base, steps.last_third(setting), width=d_model)
    times = take_turns(_ways(setting, base, data, blocks, batches), repeats=setting.repeats)
    what = f"{_CACHED}, residual blocks, d={d_model}"
    found.ask(f"prefix_vs_hooks_{called(width)}", what, "hooks", times.ratio(_CACHED, "hooks"), 1.6)
    found.ask(f"prefix_vs_dense_{called(width)}", what, "dense training", times.ratio(_CACHED, "dense training"), 3.5)
    found.add(f"hooks, d={d_model}", "gradients to the embeddings", times.ratio("hooks", "gradients to the embeddings"))
    candidate = steps.lora_at(steps.linear_sites(base, steps.last_third(setting)))
    ways = _ways(setting, base, data, candidate, batches)
    times = take_turns(ways, repeats=setting.repeats)
    for rival in ("hooks", "dense training"):
        found.add(f"{_CACHED}, LoRA at every linear map, d={d_model}", rival, times.ratio(_CACHED, rival))
    step = StepCost(
        forward=forward_cost(base, seq_len=setting.seq_len), sites=candidate.sites, rank=candidate.options["rank"]
    )
    num_tokens = len(batches) * setting.batch_size * setting.seq_len
    off = [
        abs(ways[name].num_flops / (model * num_tokens) - 1)
        for name, model in ((_CACHED, step.cached), ("hooks", step.hooks))
    ]
    found.ask(
        f"prefix_flops_off_{called(width)}",
        f"{_CACHED} and hooks, operations counted, off by",
        "cost model",
        max(off),
        0,
        "at_most",
    )
    found.add(f"hooks, operations, d={d_model}", _CACHED, step.hooks / step.cached)


def _ways(
    setting: Setting, base: FrozenBase, data: Splits, candidate: Candidate, batches: Sequence[Tensor]
) -> dict[str, Any]:
    return {
        _CACHED: EngineSteps(setting, base, [candidate], data.train, batches, cached=True),
        "hooks": steps.hooks(base, candidate, batches),
        "dense training": steps.dense(base, candidate, batches),
        "gradients to the embeddings": steps.from_the_embeddings(base, candidate, batches),
    }


def _in_few_bits(found: Findings, setting: Setting, data: Splits, width: Width) -> None:
    batches, d_model = steps.batches_of(setting, data), setting.d_model(width)
    plain = random_base(setting, data, width)
    candidate = steps.blocks_at(plain, steps.last_third(setting), width=d_model)
    half = random_base(setting, data, width, dtype=torch.bfloat16)
    ways: dict[str, Any] = {
        "float32": EngineSteps(setting, plain, [candidate], data.train, batches, cached=True),
        "bfloat16": EngineSteps(setting, half, [candidate], data.train, batches, cached=True),
        "hooks": steps.hooks(plain, candidate, batches),
    }
    times = take_turns(ways, repeats=setting.repeats)
    what = f"{_CACHED}, residual blocks, d={d_model}, base in bfloat16"
    found.ask("prefix_bf16_vs_hooks", what, "hooks on a float32 base", times.ratio("bfloat16", "hooks"), 2.5)
