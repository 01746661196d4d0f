"""What training one sequence takes: bytes kept for the backward pass, counted, and the peak of a real process."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from saint.backbones import DrmConfig, DrmForCausalLM, drm_config

_GIB = 2**30
_FLOAT = 4  # bytes


def kept_bytes(model: Any, tokens: Tensor) -> int:
    """Of distinct memory that a forward pass keeps for the backward pass, weights not counted."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model(input_ids=tokens, use_cache=False).logits
    del answer
    return sum(storage.nbytes() for storage in kept.values())


def counted_without_memory(config: DrmConfig, num_tokens: int) -> tuple[int, int]:
    """(bytes of weights, bytes kept for the backward pass), from a model that exists on paper only."""
    with FakeTensorMode():
        model = DrmForCausalLM(config)
        kept = kept_bytes(model, torch.zeros(1, num_tokens, dtype=torch.long))
        weights = sum(parameter.numel() for parameter in model.parameters()) * _FLOAT
    return weights, kept


def peak_gib(size: str, num_tokens: int) -> float:
    """Resident memory at the highest, of a process that trains a size for two steps on one sequence."""
    command = [sys.executable, "-m", "benchmarks.drm.memory", size, str(num_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])  # noqa: S603 - ourselves
    return float(json.loads(done.stdout.splitlines()[-1])["peak_gib"])


def _train(size: str, num_tokens: int) -> float:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DrmForCausalLM(drm_config(size, max_seq_len=num_tokens))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(model.config.vocab_size, (1, num_tokens))
    for _ in range(2):  # the first step makes the optimizer's state
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


if __name__ == "__main__":
    print(json.dumps({"peak_gib": _train(sys.argv[1], int(sys.argv[2]))}))
