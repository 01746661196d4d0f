"""Training on one GPU: tokens a second, share of its peak and memory, of the DRM and of a plain GPT of equal size.

    python -m benchmarks.gpu [--size tiny] [--minutes 9]

Steps are those of `saint train` in bfloat16, forward, backward, clipping and AdamW, on tokens drawn by chance: reading
text and writing checkpoints are left out. First comes the published smoke, 100 steps of 8 passes of one window by the
DRM `125m`. Figures without a target have `-` for one. What there is no time for is named. Without a GPU it says so and
exits with 0; `--size tiny` asks only whether it runs, on a CPU too.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import click
import torch
from torch import nn
from transformers import LlamaForCausalLM

from saint.backbones import DrmForCausalLM, count_params, drm_config, rival_config
from saint.cli._terminal import quieten
from saint.report import Figure
from saint.training import RunPlan
from saint.training._run import optimizer_of
from saint.training._run_metrics import flops_of_a_row, peak_flops, peak_memory_mib

_WINDOWS = {"5m": 32, "125m": 16, "350m": 8}
"""Windows of a pass, by size: enough for the GPU to be busy, few enough for 40 GB."""
_FAMILIES = ("drm", "gpt")
_PUBLISHED_TOKENS, _PUBLISHED_PASSES, _GOAL_S = 819_200, 8, 15
_COMPILING_S, _MEASURED_S = 75, 6
_TINY = {"vocab_size": 512, "max_seq_len": 64}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is trained, and how."""

    size: str
    family: str
    compiled: bool
    num_windows: int
    passes: int = 1

    @property
    def name(self) -> str:
        """As figures begin with it."""
        return f"gpu_{self.family}_{self.size}_{'compiled' if self.compiled else 'eager'}"


class Training:
    """A model and its optimiser on a device, ready for steps."""

    def __init__(self, trial: Trial, device: torch.device, *, tiny: bool) -> None:
        torch.manual_seed(0)
        config: Any = drm_config(trial.size, **(_TINY if tiny else {}))
        self.seq_len = config.max_seq_len
        self._trial, self._device, self._vocab = trial, device, config.vocab_size
        family: Any = DrmForCausalLM if trial.family == "drm" else LlamaForCausalLM
        config = config if trial.family == "drm" else rival_config(config)
        self.num_params = count_params(family, config)
        with device:
            self._model: nn.Module = family(config)
        plan = RunPlan(model_type="any", data_dir="", save_dir="", total_tokens=1, seq_len=1, batch_size=1)
        self._optimizer = optimizer_of(self._model, plan)
        row = torch.zeros(1, self.seq_len, dtype=torch.int64, device=device)
        self.flops_per_token = flops_of_a_row(self._model, row) / self.seq_len
        self._forward: Any = torch.compile(self._model) if trial.compiled else self._model

    @property
    def tokens_per_step(self) -> int:
        """Tokens that a step learns from."""
        return self._trial.num_windows * self._trial.passes * self.seq_len

    def step(self) -> None:
        """One step of the optimiser."""
        shape = (self._trial.num_windows, self.seq_len)
        for _ in range(self._trial.passes):
            tokens = torch.randint(self._vocab, shape, device=self._device)
            with torch.autocast(self._device.type, dtype=torch.bfloat16):
                loss = self._forward(input_ids=tokens, labels=tokens, use_cache=False).loss
            (loss / self._trial.passes).backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def seconds_of(self, num_steps: int) -> float:
        """How long so many steps take, until the device has finished them."""
        self._wait()
        began = time.monotonic()
        for _ in range(num_steps):
            self.step()
        self._wait()
        return time.monotonic() - began

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _ready(trial: Trial, device: torch.device, *, tiny: bool) -> Training:
    """After the steps in which kernels are made and the optimiser's moments come to be."""
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    training = Training(trial, device, tiny=tiny)
    training.seconds_of(2)
    return training


def speed(trial: Trial, device: torch.device, *, tiny: bool) -> Iterator[str]:
    """Tokens a second, MFU where the device's peak is known, and the most memory that was in use."""
    training = _ready(trial, device, tiny=tiny)
    num_steps = max(1, int(_MEASURED_S / training.seconds_of(1))) if not tiny else 1
    tokens_per_s = num_steps * training.tokens_per_step / training.seconds_of(num_steps)
    print(f"  {trial.name}: {training.num_params:,} parameters, {training.tokens_per_step:,} tokens a step")
    yield f"FIGURE {trial.name}_tokens_per_s {tokens_per_s:.0f} - ok"
    peak = peak_flops(device, 0)
    if peak is not None:
        yield f"FIGURE {trial.name}_mfu {tokens_per_s * training.flops_per_token / peak:.4f} - ok"
    yield f"FIGURE {trial.name}_peak_gib {peak_memory_mib(device) / 1024:.3f} - ok"


def published(trial: Trial, device: torch.device, *, tiny: bool) -> Iterator[str]:
    """The time of the published smoke."""
    training = _ready(trial, device, tiny=tiny)
    num_steps = _PUBLISHED_TOKENS // training.tokens_per_step if not tiny else 1
    seconds = training.seconds_of(num_steps)
    print(f"  {trial.name}: {num_steps} steps of {trial.passes} passes, {training.tokens_per_step:,} tokens each")
    name = f"{trial.name}_{_PUBLISHED_TOKENS}_tokens_s"
    yield str(Figure(name=name, value=seconds, target=_GOAL_S, sense="at_most"))


def trials(*, tiny: bool) -> Iterator[tuple[Any, Trial]]:
    """What is measured, the published smoke first."""
    kinds = (False,) if tiny else (True, False)
    for compiled in kinds:
        size = "1m" if tiny else "125m"
        smoke = Trial(size=size, family="drm", compiled=compiled, num_windows=1, passes=_PUBLISHED_PASSES)
        yield published, smoke
    for size, num_windows in {"1m": 2}.items() if tiny else _WINDOWS.items():
        for compiled in sorted(kinds):
            for family in _FAMILIES:
                yield speed, Trial(size=size, family=family, compiled=compiled, num_windows=num_windows)


@click.command(help=__doc__)
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", help="tiny: does it run at all?")
@click.option("--minutes", default=9.0, help="Nothing is begun that would probably end later.")
def main(size: str, minutes: float) -> None:
    tiny = size == "tiny"
    if not torch.cuda.is_available() and not tiny:
        print("There is no GPU here, so nothing was measured; --size tiny runs on a CPU.")
        return
    quieten()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        print(f"on {torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    ends, lines = time.monotonic() + 60 * minutes, []
    for measure, trial in trials(tiny=tiny):
        if time.monotonic() + 3 * _MEASURED_S + _COMPILING_S * trial.compiled > ends:
            print(f"  {trial.name} was not measured: there was no time left")
            continue
        try:
            lines += measure(trial, device, tiny=tiny)
        except torch.OutOfMemoryError:
            print(f"  {trial.name} was not measured: {trial.num_windows} windows do not fit into this GPU's memory")
    for line in lines:
        print(line.replace("FIGURE ", "FIGURE smoke_") if tiny else line)
    sys.exit(1 if not tiny and any(line.endswith(" short") for line in lines) else 0)


if __name__ == "__main__":
    main()
