"""A base that is trained from a file of settings: flat YAML, under the published names."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, final

import yaml

from saint import config, records
from saint.errors import ConfigError
from saint.training._published_keys import in_our_words

_SIZES = ("total_tokens", "batch_size", "gradient_accumulation_steps", "seq_len")
_INTERVALS = ("log_interval", "eval_interval", "eval_tokens", "save_interval", "save_total_limit")
# fmt: off
_WATCHING = (
    "save_dir", "data_dir", "log_interval", "save_interval", "save_total_limit", "tensorboard", "peak_tflops", "fsdp",
)
# fmt: on
"""What changes nothing of what is learnt."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """How long and how a base learns, from which text, and where it is kept."""

    model_type: str
    """A model type of transformers."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its configuration: whatever else stands in the file."""
    data_dir: str
    """A folder that `saint data prepare` finished."""
    save_dir: str
    """For checkpoints and metrics."""
    total_tokens: int
    seq_len: int
    """Tokens of a window."""
    batch_size: int = 8
    """Windows in a pass."""
    gradient_accumulation_steps: int = 1
    """Passes in a step."""
    learning_rate: float = 3e-4
    min_lr_ratio: float = 0.1
    """Share of the learning rate that is left at the end of the cosine."""
    warmup_tokens: int = 0
    """Tokens over which the learning rate rises from 0; at most a tenth of `total_tokens` are used."""
    weight_decay: float = 0.1
    """Of the matrices of linear layers; embeddings, norms, biases and single numbers do not decay."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.95
    max_grad_norm: float = 1.0
    mixed_precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    """Whether `torch.compile` makes kernels for the model first; the CPU needs a C++ compiler for that."""
    fsdp: bool = False
    """Whether the processes that torchrun started divide weights, gradients and moments among themselves."""
    seed: int = 42
    font: str = field(default="", metadata=records.LATER)
    """A .hex file of GNU Unifont for an interface that draws tokens; "" for Unifont where Debian has it, or else what
    Pillow has."""
    log_interval: int = 10
    """In steps, as all intervals."""
    eval_interval: int = 500
    eval_tokens: int = 100_000
    """Of the held-out text, in whole documents."""
    save_interval: int = 500
    save_total_limit: int = 5
    """Checkpoints to keep."""
    tensorboard: bool = False
    """Whether metrics also go to `save_dir/tensorboard`; needs that package."""
    peak_tflops: float = 0.0
    """Of a device, in 10^12 operations a second, for the share of them that is used (MFU); 0 for what is known of its
    name."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in (*_SIZES, *_INTERVALS):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("weight_decay", "warmup_tokens"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not (self.learning_rate > 0 and self.max_grad_norm > 0 and 0 <= self.min_lr_ratio <= 1):
            raise ConfigError("learning_rate and max_grad_norm must be above 0, and min_lr_ratio between 0 and 1")
        if self.fsdp and self.compile:
            raise ConfigError("fsdp and compile are both true, and a divided model is not compiled; leave one out")
        if self.total_tokens < self.tokens_per_step:
            raise ConfigError(
                f"total_tokens is {self.total_tokens:,}, less than the {self.tokens_per_step:,} of one step; raise it, "
                "or lower batch_size, gradient_accumulation_steps or seq_len"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step learns from."""
        return self.batch_size * self.gradient_accumulation_steps * self.seq_len

    @property
    def num_steps(self) -> int:
        """Whole steps in `total_tokens`."""
        return self.total_tokens // self.tokens_per_step

    @property
    def identity(self) -> dict[str, Any]:
        """What decides what is learnt."""
        plain: dict[str, Any] = records.to_plain(self)
        return {name: value for name, value in plain.items() if name not in _WATCHING}

    def lr_at(self, num_tokens: int) -> float:
        """The learning rate of the step that ends after so many tokens: a linear rise, then half a cosine."""
        total = self.num_steps * self.tokens_per_step
        warmup = min(self.warmup_tokens, total // 10)
        if num_tokens < warmup:
            return self.learning_rate * num_tokens / warmup
        done = (num_tokens - warmup) / max(1, total - warmup)
        return self.learning_rate * (self.min_lr_ratio + (1 - self.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done)))


def load_run(file: Path, *, overrides: Iterable[str] = ()) -> RunPlan:
    """Read a YAML file of settings; `overrides` are `key=value` in YAML's spelling.

    Keys that are no fields of `RunPlan` are settings of the model, which refuses those that it does not have. What the
    published files call otherwise is known too; what they have and this system has not is refused.

    Raises:
        ConfigError: The file or an override cannot be read, or a value has the wrong type.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read as YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds {type(found).__name__}; expected settings, one `key: value` a line")
    changes = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--override is {override!r}; expected key=value, such as batch_size=1")
        changes[key] = yaml.safe_load(value)
    found = in_our_words(found, changes)
    known = {one.name for one in fields(RunPlan)} - {"model"}
    plain: dict[str, Any] = {key: _number(value) for key, value in found.items() if key in known}
    plain["model"] = {key: _number(value) for key, value in found.items() if key not in known}
    if "max_seq_len" in plain["model"]:
        plain.setdefault("seq_len", plain["model"]["max_seq_len"])
    return config.build(plain, RunPlan, where=str(file))


def _number(value: Any) -> Any:
    """What people mean by 3e-4, which YAML reads as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
