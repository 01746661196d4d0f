"""One loop for everything that learns: grafts, controls and bases."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from saint import records
from saint.data import Batches
from saint.errors import ConfigError, DivergedError, StorageError
from saint.grafts import History
from saint.models import must_read, token_nats
from saint.progress import Progress, Silent

_SAVE_EVERY_S = 20.0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how something learns. The peak learning rate belongs to what learns, not to the schedule."""

    num_steps: int = 200
    batch_size: int = 8
    seq_len: int = 128
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    final_lr: float = 0.1
    """Share of the peak learning rate that is left at the end of the cosine."""
    fade_in: float = 0.0
    """Share of the steps over which a new graft's strength rises to 1; *select* is always read at full strength."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    evaluate_every: int = 50
    """Steps between evaluations on *select*; the best state seen is the one that is kept."""
    patience: int = 3
    """Evaluations in a row without an improvement before training stops."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("num_steps", "batch_size", "seq_len", "evaluate_every", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("warmup", "final_lr", "fade_in"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.clip_norm <= 0 or self.weight_decay < 0:
            raise ConfigError("clip_norm must be positive and weight_decay must not be negative")

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step learns from."""
        return self.batch_size * self.seq_len

    @property
    def num_tokens(self) -> int:
        """Tokens that the whole schedule learns from."""
        return self.num_steps * self.tokens_per_step

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other schedules; one without a fade is known by what it was before there were fades."""
        plain: dict[str, Any] = records.to_plain(self)
        return {name: value for name, value in plain.items() if name != "fade_in" or value}

    def strength(self, step: int) -> float:
        """What a new graft's change is multiplied by at `step`; never 0, where no gradient would reach it."""
        return min(1.0, (step + 1) / max(1, round(self.fade_in * self.num_steps)))

    def lr_share(self, step: int) -> float:
        """The learning rate of `step` as a share of the peak: a linear warm-up, then half a cosine."""
        num_warmup = max(1, round(self.warmup * self.num_steps))
        if step < num_warmup:
            return (step + 1) / num_warmup
        done = (step - num_warmup) / max(1, self.num_steps - num_warmup)
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done))


@final
class Run:
    """One training run that can stop after any step and be taken up again to the bit.

    The batch of a step is a pure function of the step and models are in evaluation mode (no dropout), so weights,
    optimiser moments and the best state are all that there is to save.
    """

    def __init__(
        self,
        model: nn.Module,
        learning: Mapping[str, nn.Parameter],
        batches: Batches,
        schedule: Schedule,
        *,
        of: Any,
        lr: float,
        score: Callable[[], float] | None = None,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            learning: What moves, by name; all of it requires gradients and nothing else in `model` does.
            of: Everything else that decides what is learnt, as plain data: a checkpoint of another run is not taken up.
            score: Bits per byte on *select* as the model stands; lower is better.
            checkpoint: Where to save when interrupted, now and then, and at the end; a file there is taken up. It stays
                until the caller has stored what came of the run.

        Raises:
            ConfigError: The model cannot read windows that long.
        """
        must_read(model.config, schedule.seq_len)
        moving = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert len(moving) == len(learning), "something that should be frozen would learn"
        self._model, self._learning, self._batches, self._schedule = model, learning, batches, schedule
        self._lr, self._score, self._checkpoint, self._progress = lr, score, checkpoint, progress or Silent()
        self._optimizer = torch.optim.AdamW(
            list(learning.values()),
            lr=lr,
            betas=(schedule.beta1, schedule.beta2),
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        self._strengthen: Callable[[float], None] = lambda _: None
        self._at = _Position()
        self._best = {name: parameter.detach().clone() for name, parameter in learning.items()}
        self._identity = records.digest(
            {
                "schedule": schedule.identity,
                "lr": lr,
                "text": batches.corpus.digest,
                "seed": batches.seed,
                "shapes": {name: list(parameter.shape) for name, parameter in learning.items()},
                "of": of,
            }
        )

    def finish(self, description: str, *, strengthen: Callable[[float], None] | None = None) -> History:
        """Learn to the end, keep the best state, and say how it went.

        Args:
            strengthen: Sets what the change that is learnt is multiplied by, for a schedule that fades it in.

        Raises:
            Interrupted: A stop was asked for; the checkpoint holds everything.
            DivergedError: The loss stopped being a number.
        """
        self._strengthen = strengthen or self._strengthen
        self._resume()
        schedule, saved = self._schedule, time.monotonic()
        with self._progress.task(description, total=schedule.num_tokens, unit="tokens") as task:
            try:
                task.advance(self._at.step * schedule.tokens_per_step)
                while self._at.step < schedule.num_steps and self._at.num_worse < schedule.patience:
                    started = time.monotonic()
                    self._learn_step()
                    if self._at.step % schedule.evaluate_every == 0 or self._at.step == schedule.num_steps:
                        self._evaluate()
                    self._at.time_s += time.monotonic() - started
                    task.advance(schedule.tokens_per_step)
                    if time.monotonic() - saved > _SAVE_EVERY_S:
                        self._save()
                        saved = time.monotonic()
            finally:  # also at the end: what came of the run is yet to be stored
                self._save()
        self._strengthen(1.0)
        if self._score is not None:
            self._put(self._best)
        at = self._at
        return History(
            train_tokens=at.step * schedule.tokens_per_step,
            select_bpb=tuple((step * schedule.tokens_per_step, bpb) for step, bpb in at.evaluations),
            best_tokens=(at.best_step if self._score is not None else at.step) * schedule.tokens_per_step,
            time_s=at.time_s,
        )

    def _learn_step(self) -> None:
        step, parameters = self._at.step, list(self._learning.values())
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * self._schedule.lr_share(step)
        self._strengthen(self._schedule.strength(step))
        tokens = self._batches[step].to(parameters[0].device)
        loss = token_nats(self._model, tokens).mean()
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, self._schedule.clip_norm)
        if not torch.isfinite(norm):
            raise DivergedError(
                f"the loss or its gradient stopped being a number at step {step} with a peak learning rate of "
                f"{self._lr:g}; lower the learning rate"
            )
        self._optimizer.step()
        self._at.step += 1

    def _evaluate(self) -> None:
        if self._score is None:
            return
        self._strengthen(1.0)
        bpb = self._score()
        if not math.isfinite(bpb):
            raise DivergedError(
                f"the loss on development text is {bpb} at step {self._at.step}; lower the learning rate"
            )
        best = min((earlier for _, earlier in self._at.evaluations), default=math.inf)
        self._at.evaluations.append((self._at.step, bpb))
        if bpb < best:
            self._at.best_step, self._at.num_worse = self._at.step, 0
            self._best = {name: parameter.detach().clone() for name, parameter in self._learning.items()}
        else:
            self._at.num_worse += 1

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, parameter in self._learning.items():
            parameter.copy_(state[name])

    def _save(self) -> None:
        if self._checkpoint is None or self._at.step == 0:
            return
        tensors = {}
        for name, parameter in self._learning.items():
            tensors[f"now.{name}"], tensors[f"best.{name}"] = parameter.detach(), self._best[name]
            for moment, value in self._optimizer.state[parameter].items():
                tensors[f"{moment}.{name}"] = value
        position = records.to_canonical({**vars(self._at), "identity": self._identity})
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"position": position})
        draft = self._checkpoint.with_suffix(".partial")
        try:
            self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            os.replace(draft, self._checkpoint)  # noqa: PTH105 - Path.replace says less about being atomic
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{self._checkpoint} was not written ({error.strerror}); make room") from error

    def _resume(self) -> None:
        """Take up a checkpoint of this very run; one of another run is left alone and later overwritten."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            with safe_open(self._checkpoint, framework="pt") as file:
                position = json.loads(file.metadata()["position"])
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError:
            return  # cut off by a crash of the machine: the run begins anew
        if position.pop("identity") != self._identity:
            return
        self._put({name: found[f"now.{name}"] for name in self._learning})
        for name, parameter in self._learning.items():
            self._best[name] = found[f"best.{name}"].to(parameter.device)
            kept = {moment: found.get(f"{moment}.{name}") for moment in ("step", "exp_avg", "exp_avg_sq")}
            self._optimizer.state[parameter] = {m: v.to(parameter.device) for m, v in kept.items() if v is not None}
        evaluations = [(int(step), float(bpb)) for step, bpb in position.pop("evaluations")]  # JSON has no tuples
        self._at = _Position(evaluations=evaluations, **position)


@final
@dataclass(kw_only=True)
class _Position:
    """Where a run has come to."""

    step: int = 0
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(step, bits per byte on *select*)"""
    best_step: int = 0
    num_worse: int = 0
    time_s: float = 0.0
