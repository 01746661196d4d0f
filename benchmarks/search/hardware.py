"""How much of the machine a training step uses: operations that it needs, over what products of matrices reach.

Operations are those of the passes that are needed, causal attention counted as half; the peak is that of the fastest
product in the same run.
"""

from typing import Any

from benchmarks.search import steps
from benchmarks.search.base import random_base, splits
from benchmarks.search.engine import EngineSteps
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting, Width, called
from benchmarks.search.timing import Gemm, Ratio, take_turns

_TARGETS: dict[Width, float] = {"small": 0.50, "large": 0.70}
_PEAK = "products of matrices"


def measure(setting: Setting) -> Findings:
    """The share of the peak at each width: LoRA at every linear map by the engine, and what it is made of."""
    found, data, gemm = Findings(setting=setting), splits(setting), Gemm()
    for width, target in _TARGETS.items():
        base, batches = random_base(setting, data, width), steps.batches_of(setting, data)
        everywhere = steps.lora_at(steps.linear_sites(base, range(setting.num_layers)))
        above = steps.lora_at(steps.linear_sites(base, steps.last_third(setting)))
        ways: dict[str, Any] = {
            "step at every linear map": EngineSteps(setting, base, [everywhere], data.train, batches, cached=True),
            "step at the last third, cached": EngineSteps(setting, base, [above], data.train, batches, cached=True),
            "hooks at every linear map": steps.hooks(base, everywhere, batches),
            "dense training": steps.dense(base, everywhere, batches),
        }
        times = take_turns({**ways, _PEAK: gemm}, repeats=setting.repeats)
        peak_s = times.seconds[_PEAK]
        for what, way in ways.items():
            share = _share(way.num_flops, times.seconds[what], gemm.num_flops, peak_s)
            name = f"{what}, d={setting.d_model(width)}, share of peak"
            if what == "step at every linear map":
                found.ask(f"efficiency_{called(width)}", name, _PEAK, share, target)
            else:
                found.add(name, _PEAK, share)
        found.notes.append(f"peak in float32: {gemm.num_flops / times.median_s(_PEAK) / 1e9:.1f} GFLOP/s on one thread")
    return found


def _share(num_flops: int, seconds: list[float], peak_flops: int, peak_s: list[float]) -> Ratio:
    return Ratio.of([(num_flops / s) / (peak_flops / p) for s, p in zip(seconds, peak_s, strict=True)])
