"""The memory of one cohort, in a process of its own: `python -m benchmarks.search.memory WORK SIZE NUM` prints JSON."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

_KIB = 1024  # Linux tells the peak in it
_COPIES = 4  # of what learns: itself, its gradient, two moments


def measure(work: Path, size: Any, num: int) -> dict[str, int]:
    """Bytes: the peak of the process, the peak before training, states of the grafts, and what autograd keeps."""
    from benchmarks.search import steps
    from benchmarks.search.base import random_base, splits
    from benchmarks.search.cohorts import same_site
    from benchmarks.search.engine import EngineSteps
    from benchmarks.search.setting import Setting

    setting = Setting(work=work, size=size)
    data = splits(setting)
    base = random_base(setting, data, "small")
    candidates = same_site(setting, base, num)
    loaded = _peak()
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


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


if __name__ == "__main__":
    folder, size_name, number = sys.argv[1:]
    print(json.dumps(measure(Path(folder), size_name, int(number))))
