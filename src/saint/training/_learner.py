"""One thing that learns, and how far it has come: it can stop after any step and go on to the same bits."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from saint import records
from saint.data import Batches
from saint.errors import DivergedError, StorageError
from saint.grafts import History
from saint.models import tensor_digest
from saint.training._processes import Processes
from saint.training._schedule import Schedule

_UNREADABLE = (
    SafetensorError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What comes of reading a checkpoint that was written by nobody of ours."""
PerDocument = Float64[np.ndarray, " documents"]
Moments = Mapping[str, Mapping[str, Tensor]]
"""Name of what learns -> AdamW's `step`, `exp_avg` and `exp_avg_sq`."""


@final
class Learner:
    """Parameters with their optimiser, their text, their best state and their place in the schedule.

    The batch of a step is a pure function of the step and models are in evaluation mode (no dropout), so weights,
    optimiser moments and the best state are all that there is to save.
    """

    def __init__(
        self,
        learning: Mapping[str, nn.Parameter],
        batches: Batches,
        schedule: Schedule,
        *,
        of: Any,
        lr: float,
        strengthen: Callable[[float], None] | None = None,
        checkpoint: Path | None = None,
        carried: Moments | None = None,
    ) -> None:
        """Take up what an earlier process has saved, or begin.

        Args:
            learning: What moves, by name.
            of: Everything else that decides what is learnt, as plain data: a checkpoint of another run is not taken up.
            strengthen: Sets what the change that is learnt is multiplied by, for a schedule that fades it in.
            checkpoint: Where to save; a file there is taken up. It stays until the caller has stored what came of it.
            carried: Moments that some of it has from before, by which it goes on without a warm-up; what they are is
                for `of` to say.
        """
        self.learning, self.batches, self.schedule = learning, batches, schedule
        self.failure = ""
        """Why it came to nothing; empty as long as it did not."""
        self._lr, self._checkpoint = lr, checkpoint
        self._set_strength: Callable[[float], None] = strengthen or (lambda _: None)
        self._strength: float | None = None
        self._latest: tuple[int, PerDocument] | None = None
        self._optimizer = torch.optim.AdamW(
            _groups(learning, carried or {}),
            lr=lr,
            betas=(schedule.beta1, schedule.beta2),
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        for name, moments in (carried or {}).items():
            there = {moment: value.to(learning[name].device, copy=True) for moment, value in moments.items()}
            self._optimizer.state[learning[name]] = there
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
        self._resume()

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._at.step

    @property
    def time_s(self) -> float:
        """Seconds that it took so far, those before an interruption included."""
        return self._at.time_s

    @property
    def is_done(self) -> bool:
        """Whether it has come to the end of its schedule, stopped getting better, or failed."""
        at, schedule = self._at, self.schedule
        if schedule.plateau is None:
            ended = at.num_worse >= schedule.patience
        else:
            ended = at.cooling is not None and at.step >= at.cooling + schedule.plateau.length(at.cooling)
        return bool(self.failure) or at.step >= schedule.num_steps or ended

    @property
    def moments(self) -> Moments:
        """The optimiser's state as it is now; nothing of what has taken no step."""
        return {
            name: {moment: value.detach() for moment, value in self._optimizer.state[parameter].items()}
            for name, parameter in self.learning.items()
            if parameter in self._optimizer.state
        }

    @property
    def is_due(self) -> bool:
        """Whether it is to be evaluated now."""
        at, schedule = self._at, self.schedule
        is_time = at.step % schedule.evaluate_every == 0 or at.step == schedule.num_steps or self.is_done
        return at.step > 0 and is_time and not self.failure and at.step not in dict(at.evaluations)

    def begin_step(self) -> None:
        """Make ready for gradients."""
        at, plateau = self._at, self.schedule.plateau
        if plateau is not None and at.cooling is None and at.step >= plateau.latest(self.schedule.num_steps):
            at.cooling = at.step
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * self.schedule.lr_share(at.step, warm=group["warm"], cooling=at.cooling)
        self._strengthen(self.schedule.strength(self._at.step))
        self._optimizer.zero_grad()

    def take_step(self) -> None:
        """Follow the gradients that are there now; a learner whose gradients are no numbers fails instead."""
        norm = nn.utils.clip_grad_norm_(list(self.learning.values()), self.schedule.clip_norm)
        if not torch.isfinite(norm):
            self.failure = (
                f"the loss or its gradient stopped being a number at step {self._at.step} with a peak learning rate of "
                f"{self._lr:g}; lower the learning rate"
            )
            return
        self._optimizer.step()
        self._at.step += 1

    def evaluate(self, read: Callable[[], PerDocument], bpb_of: Callable[[PerDocument], float]) -> None:
        """Read development text at full strength, and keep the state if there was none better.

        Args:
            read: Nats per document of *select* as the weights stand.
            bpb_of: Bits per byte of these; lower is better.
        """
        bpb = bpb_of(self._read(read))
        if not math.isfinite(bpb):
            self.failure = f"the loss on development text is {bpb} at step {self._at.step}; lower the learning rate"
            return
        best = min((earlier for _, earlier in self._at.evaluations), default=math.inf)
        self._at.evaluations.append((self._at.step, bpb))
        if bpb < best:
            self._at.best_step = self._at.step
            self._best = {name: parameter.detach().clone() for name, parameter in self.learning.items()}
        plateau = self.schedule.plateau
        is_better = bpb < best - (plateau.at_least_bpb if plateau else 0.0)
        self._at.num_worse = 0 if is_better else self._at.num_worse + 1
        if plateau and self._at.cooling is None and self._at.num_worse >= plateau.patience:
            self._at.cooling = self._at.step

    def at_rung(self, step: int, read: Callable[[], PerDocument]) -> PerDocument:
        """What it paid for each document of *select* at a rung, or when it stopped before; measured once, and saved.

        What is no number is not saved.

        Args:
            step: Of the rung, which it has not gone beyond unless it was measured there.
            read: Nats per document as the weights stand.
        """
        if step not in self._at.rungs:
            began = time.monotonic()
            nats = self._read(read)
            self.spend(time.monotonic() - began)
            if not np.isfinite(nats).all():
                return nats
            self._at.rungs[step] = nats.tolist()
            self.save()
        return np.array(self._at.rungs[step])

    def _read(self, read: Callable[[], PerDocument]) -> PerDocument:
        """What it pays at full strength as its weights stand; a rung may be where it was just evaluated."""
        if self._latest is None or self._latest[0] != self._at.step:
            self._strengthen(1.0)
            self._latest = self._at.step, read()
        return self._latest[1]

    def spend(self, time_s: float) -> None:
        """Add to the time that it took."""
        self._at.time_s += time_s

    def finish(self, *, keep_best: bool) -> History:
        """Say how it went, in the best state that was seen or, without evaluations, the last.

        Raises:
            DivergedError: It failed.
        """
        if self.failure:
            raise DivergedError(self.failure)
        self._strengthen(1.0)
        keep_best = keep_best and bool(self._at.evaluations)
        if keep_best:
            self._put(self._best)
        at, each = self._at, self.schedule.tokens_per_step
        return History(
            train_tokens=at.step * each,
            select_bpb=tuple((step * each, bpb) for step, bpb in at.evaluations),
            best_tokens=(at.best_step if keep_best else at.step) * each,
            time_s=at.time_s,
        )

    def save(self) -> None:
        """Write the checkpoint, all of it or nothing.

        Raises:
            StorageError: The disk refused.
        """
        if self._checkpoint is None or self._at.step == 0:
            return
        content = self._content()
        draft = self._checkpoint.with_suffix(f".{os.getpid()}.partial")  # one that was given up may still be writing
        try:
            self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            os.replace(draft, self._checkpoint)  # noqa: PTH105 - Path.replace says less about being atomic
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{self._checkpoint} was not written ({error.strerror}); make room") from error

    def be_as_first(self, processes: Processes) -> None:
        """Take up what the first process has taken up, so that no other needs to read its disk.

        Raises:
            WorkerError: One of them is gone.
        """
        if processes.size == 1:
            return
        content = processes.tell(self._content() if processes.is_first and self._at.step else None)
        if content is not None and not processes.is_first:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            position = json.loads(header["__metadata__"]["position"])
            del position["identity"]
            self._take_up(_position_in(position), load(content))

    @property
    def digest(self) -> str:
        """One digest over what learns as it stands."""
        return records.digest({name: tensor_digest(parameter) for name, parameter in self.learning.items()})

    def _content(self) -> bytes:
        tensors = {}
        for name, parameter in self.learning.items():
            tensors[f"now.{name}"], tensors[f"best.{name}"] = parameter.detach(), self._best[name]
            for moment, value in self._optimizer.state[parameter].items():
                tensors[f"{moment}.{name}"] = value
        rungs = {str(step): nats for step, nats in self._at.rungs.items()}
        position = records.to_canonical({**vars(self._at), "rungs": rungs, "identity": self._identity})
        return save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"position": position})

    def _strengthen(self, strength: float) -> None:
        if strength != self._strength:  # else every part of a graft would be written to at every step
            self._set_strength(strength)
            self._strength = strength

    @torch.no_grad()
    def _put(self, state: Mapping[str, Tensor]) -> None:
        for name, parameter in self.learning.items():
            parameter.copy_(state[name])

    def _resume(self) -> None:
        """Take up a checkpoint of this very run; one of another run is left alone and later overwritten."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            with safe_open(self._checkpoint, framework="pt") as file:
                position = json.loads(file.metadata()["position"])
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            if position.pop("identity") != self._identity:
                return
            at = _position_in(position)
        except _UNREADABLE:
            return  # cut off by a crash of the machine, or nothing that was written here: the run begins anew
        if all(self._fits(name, parameter, found) for name, parameter in self.learning.items()):
            self._take_up(at, found)

    @staticmethod
    def _fits(name: str, parameter: Tensor, found: Mapping[str, Tensor]) -> bool:
        """Whether a checkpoint has all of a parameter, as it is here; what no gradient reached has no moments."""
        wanted, step = ["now", "best"], found.get(f"step.{name}")
        if step is not None:
            wanted += ["exp_avg", "exp_avg_sq"]
        there = [found.get(f"{what}.{name}") for what in wanted]
        return (step is None or step.numel() == 1) and all(
            one is not None and (one.shape, one.dtype) == (parameter.shape, parameter.dtype) for one in there
        )

    def _take_up(self, at: "_Position", found: Mapping[str, Tensor]) -> None:
        self._put({name: found[f"now.{name}"] for name in self.learning})
        for name, parameter in self.learning.items():
            self._best[name] = found[f"best.{name}"].to(parameter.device)
            kept = {moment: found.get(f"{moment}.{name}") for moment in ("step", "exp_avg", "exp_avg_sq")}
            self._optimizer.state[parameter] = {m: v.to(parameter.device) for m, v in kept.items() if v is not None}
        self._at = at


def time_in(checkpoint: Path) -> float:
    """Seconds that a run took until it was saved; 0 where there is no checkpoint that says so."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            position = json.loads(file.metadata()["position"])
            position.pop("identity")
            return _position_in(position).time_s
    except (OSError, *_UNREADABLE):
        return 0.0


def _position_in(plain: Mapping[str, Any]) -> "_Position":
    """Where a checkpoint says that a run has come to.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It says no such thing.
    """
    evaluations = [(int(step), float(bpb)) for step, bpb in plain["evaluations"]]  # JSON has no tuples
    rungs = {int(step): [float(one) for one in nats] for step, nats in plain.get("rungs", {}).items()}  # nor such keys
    position = _Position(**{**plain, "evaluations": evaluations, "rungs": rungs})
    counts = (position.step, position.best_step, position.num_worse, position.cooling or 0)
    if any(type(count) is not int or count < 0 for count in counts) or not 0 <= position.time_s < math.inf:
        raise ValueError(f"expected steps and seconds, got {counts} and {position.time_s}")
    if not all(map(math.isfinite, (*(bpb for _, bpb in evaluations), *chain.from_iterable(rungs.values())))):
        raise ValueError("expected numbers that development text costs")
    return position


def _groups(learning: Mapping[str, nn.Parameter], carried: Moments) -> list[dict[str, Any]]:
    """What goes on warm, and what has yet to warm up."""
    warm = [parameter for name, parameter in learning.items() if name in carried]
    new = [parameter for name, parameter in learning.items() if name not in carried]
    return [{"params": there, "warm": is_warm} for there, is_warm in ((new, False), (warm, True)) if there]


@final
@dataclass(kw_only=True)
class _Position:
    """Where a run has come to."""

    step: int = 0
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(step, bits per byte on *select*)"""
    best_step: int = 0
    num_worse: int = 0
    cooling: int | None = None
    """The step at which the decline of a plateau began; None before, and without one."""
    time_s: float = 0.0
    rungs: dict[int, list[float]] = field(default_factory=dict)
    """Step of a rung -> nats of each document of *select* there."""
