"""What a run tells of itself: lines of JSON, TensorBoard if asked for, and how much of the machine it uses."""

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn

from saint.errors import MissingPackageError
from saint.folders import write_file
from saint.models import counting_flops

_PEAK_TFLOPS: Mapping[str, float] = MappingProxyType(
    {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0, "L4": 121.0}
)
"""What makers state for products of bfloat16 matrices without sparsity, by a part of the device's name."""


@final
class Metrics:
    """A file of JSON lines, one curve whatever was interrupted: what came after the checkpoint is written anew."""

    def __init__(self, folder: Path | None, *, until: int, tensorboard: bool) -> None:
        """Take up the lines of the steps until a checkpoint.

        Args:
            folder: Where `metrics.jsonl` is, and `tensorboard` if asked for; None to write nothing.

        Raises:
            MissingPackageError: TensorBoard is asked for and not installed.
        """
        self.last: dict[str, Any] = {}
        self._file = None if folder is None else folder / "metrics.jsonl"
        self._board = None
        if self._file is None:
            return
        kept = [line for line in _whole_lines(self._file) if line["step"] <= until]
        self.last = kept[-1] if kept else {}
        write_file(self._file, [(json.dumps(line) + "\n").encode() for line in kept])
        if tensorboard:
            self._board = _open_board(self._file.with_name("tensorboard"), until)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line."""
        self.last = line
        if self._file is None:
            return
        with self._file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name in line.keys() - {"step", "tokens"}:
                self._board.add_scalar(name, line[name], line["step"])
            self._board.flush()

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, until: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingPackageError(
            "tensorboard is true, and that package is missing: pip install 'saint-g[tensorboard]'"
        ) from error
    return SummaryWriter(folder, purge_step=until + 1)


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file, but for the last one if a kill cut it."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def flops_of_a_row(model: nn.Module, row: Int[Tensor, "1 seq"]) -> int:
    """Operations of the matrix products of one pass over one window, forward and backward; gradients are dropped.

    Attention counts as causal, and what is computed a second time to save memory does not count.
    """
    with counting_flops() as counter:
        model(input_ids=row, labels=row, use_cache=False).loss.backward()
    model.zero_grad()
    return int(counter.get_total_flops())


def peak_flops(device: torch.device, stated_tflops: float) -> float | None:
    """Operations a second that a device is said to be capable of; None where nobody says.

    Args:
        stated_tflops: In 10^12 a second; 0 to go by the device's name.
    """
    if stated_tflops:
        return stated_tflops * 1e12
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((tflops * 1e12 for part, tflops in _PEAK_TFLOPS.items() if part in name), None)


def peak_memory_mib(device: torch.device) -> int:
    """The most memory that was in use: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
