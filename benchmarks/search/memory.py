"""The memory of one cohort, in a process of its own: `python -m benchmarks.search.memory WORK SIZE NUM` prints JSON.

The peak is the kernel's own record of this process, begun anew once base and text are loaded; only Linux keeps one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

_KIB = 1024
_COPIES = 4  # of what learns: itself, its gradient, two moments


def measure(work: Path, size: Any, num: int) -> dict[str, int]:
    """Bytes: the peak while training, what is loaded before, states of the grafts, and what autograd keeps."""
    from benchmarks.search import steps
    from benchmarks.search.base import random_base, splits
    from benchmarks.search.cohorts import same_site
    from benchmarks.search.engine import EngineSteps
    from benchmarks.search.setting import Setting

    setting = Setting(work=work, size=size)
    data = splits(setting)
    base = random_base(setting, data, "small")
    candidates = same_site(setting, base, num)
    loaded = _begin_peak()
    cohort = EngineSteps(setting, base, candidates, data.train, steps.batches_of(setting, data), cached=True)
    cohort()
    cohort()
    peak = _peak()
    known = {tensor.untyped_storage().data_ptr() for tensor in (*base.model.parameters(), *base.model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cohort()
    states = _COPIES * sum(p.numel() * p.element_size() for graft in cohort.grafts for p in graft.parameters())
    return {"peak": peak, "loaded": loaded, "states": states, "kept": sum(kept.values())}


def _begin_peak() -> int:
    """Resident bytes now, which is the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    told = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in told if line.startswith("VmHWM:")]
    return int(line.split()[1]) * _KIB


if __name__ == "__main__":
    folder, size_name, number = sys.argv[1:]
    print(json.dumps(measure(Path(folder), size_name, int(number))))
