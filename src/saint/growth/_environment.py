"""What grafts are made with and on, as far as it is cheap to know and says nothing of who or where."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import torch

import saint
from saint import records

_RECORDED_PACKAGES = (
    "saint-g",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "torchao",
    "bitsandbytes",
)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions of what counts, digests of our own code and of all that is installed, and what the machine is.

    No machine's name, no user's, no path and no list of packages is among it: a registry is given to others.
    """
    return {"versions": _versions(), "code": _code(), "packages": _packages(), "machine": _machine(device)}


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _RECORDED_PACKAGES}}


@cache
def _code() -> str:
    """SHA-256 of the canonical record of our own modules: name below the package -> SHA-256."""
    root = Path(saint.__file__).parent
    return records.digest({file.relative_to(root).as_posix(): records.file_digest(file) for file in root.rglob("*.py")})


@cache
def _packages() -> str:
    """SHA-256 of the canonical record of every installed distribution: name in lower case -> version."""
    return records.digest({one.name.lower(): one.version for one in distributions() if one.name})


def _machine(device: torch.device) -> dict[str, Any]:
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    return {
        "processor": platform.machine(),
        "system": platform.system(),
        "num_threads": torch.get_num_threads(),
        "device": device.type,
        "accelerator": accelerator,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
