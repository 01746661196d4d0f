"""GPUs that workers share."""

import os
from math import floor

import torch

from saint.errors import ConfigError, UnfitWorkerError

_SEEN = "CUDA_VISIBLE_DEVICES"
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def gpus_for(number: int, gpus: float) -> list[dict[str, str]]:
    """For each worker on this machine the environment in which it sees the GPU that it has its share of.

    They are dealt out one after the other, so that as few as can be are on each.

    Args:
        gpus: Of one GPU, above 0 and up to 1.

    Raises:
        ConfigError: There are no GPUs here, or too few for so many workers.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        raise ConfigError(
            "--gpus is of machines with a GPU, and PyTorch finds none on this one; leave it out, or install a build of "
            "PyTorch for it"
        )
    if number > (room := there * floor(1 / gpus + 1e-9)):
        raise ConfigError(
            f"{number} workers with {gpus:g} GPU each do not fit on the {there} of this machine, which have room for "
            f"{room}; give fewer --workers, or smaller --gpus"
        )
    seen = os.environ.get(_SEEN, "").split(",")
    names = seen if len(seen) == there and all(seen) else [str(index) for index in range(there)]
    return [{_SEEN: names[index % there]} for index in range(number)]


def device_for(gpus: float) -> torch.device:
    """Where a worker computes; on a GPU it takes no more of the memory than its share, and repeats itself if it can.

    Args:
        gpus: Its share of the GPU that it sees; 0 for none.

    Raises:
        UnfitWorkerError: There is none to be seen.
    """
    if not gpus:
        return torch.device("cpu")
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # without it cuBLAS adds up in any order
    if not torch.cuda.is_available():
        raise UnfitWorkerError(
            f"a worker was promised {gpus:g} of a GPU, and PyTorch finds none on its machine; install a build of "
            "PyTorch for it there, or leave --gpus out"
        )
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    device = torch.device("cuda", 0)
    if gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus, device)
    return device
