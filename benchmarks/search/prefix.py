"""What it saves not to compute the frozen blocks below: LoRA at every linear map of the last third of the blocks."""

from typing import Any, get_args

import torch

from benchmarks.search import steps
from benchmarks.search.base import random_base, splits
from benchmarks.search.engine import EngineSteps
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting, Width, called
from benchmarks.search.timing import take_turns
from saint.data import Splits
from saint.models import forward_cost
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
    candidate = steps.lora_at(steps.linear_sites(base, steps.last_third(setting)))
    ways: dict[str, Any] = {
        _CACHED: EngineSteps(setting, base, [candidate], data.train, batches, cached=True),
        "hooks": steps.hooks(base, candidate, batches),
        "dense training": steps.dense(base, candidate, batches),
        "gradients to the embeddings": steps.from_the_embeddings(base, candidate, batches),
    }
    times, d_model = take_turns(ways, repeats=setting.repeats), setting.d_model(width)
    what = f"{_CACHED}, last third, d={d_model}"
    found.ask(f"prefix_vs_hooks_{called(width)}", what, "hooks", times.ratio(_CACHED, "hooks"), 1.6)
    found.ask(f"prefix_vs_dense_{called(width)}", what, "dense training", times.ratio(_CACHED, "dense training"), 3.5)
    found.add(f"hooks, d={d_model}", "gradients to the embeddings", times.ratio("hooks", "gradients to the embeddings"))
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


def _in_few_bits(found: Findings, setting: Setting, data: Splits, width: Width) -> None:
    batches, d_model = steps.batches_of(setting, data), setting.d_model(width)
    plain = random_base(setting, data, width)
    candidate = steps.lora_at(steps.linear_sites(plain, steps.last_third(setting)))
    half = random_base(setting, data, width, dtype=torch.bfloat16)
    ways: dict[str, Any] = {
        "float32": EngineSteps(setting, plain, [candidate], data.train, batches, cached=True),
        "bfloat16": EngineSteps(setting, half, [candidate], data.train, batches, cached=True),
        "hooks": steps.hooks(plain, candidate, batches),
    }
    times = take_turns(ways, repeats=setting.repeats)
    found.add(f"{_CACHED}, last third, d={d_model}", "hooks", times.ratio("float32", "hooks"))
    what = f"{_CACHED}, last third, d={d_model}, base in bfloat16"
    found.ask("prefix_bf16_vs_hooks", what, "hooks on a float32 base", times.ratio("bfloat16", "hooks"), 2.5)
