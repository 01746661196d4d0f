"""The work of a comparison, one run at a time: train it, measure it, keep what came of it."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

import torch
from safetensors.torch import load, save
from torch import nn

from saint.comparison._code import code_digest, plug_in_digest
from saint.comparison._plan import ComparisonPlan
from saint.composition import compose, probe_logits
from saint.consolidation import merge
from saint.data import Corpus, Splits, open_splits
from saint.errors import ConfigError, DivergedError, ExportError
from saint.evaluation import Losses, measure_cost
from saint.grafts import Graft, History, grow_from
from saint.models import FrozenBase, freeze
from saint.progress import Progress, Silent
from saint.records import Candidate, digest, to_plain
from saint.search import Store
from saint.training import Schedule, continue_training, count_step, train

_CODE = ("saint-g", "torch", "transformers")
_BYTES_PER_WEIGHT = 4


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of one arm: a candidate on the bare base, or the whole base on the text of a domain."""

    candidate: Candidate | None = None
    domain: str = ""
    """Of a whole base: whose train split it learns from."""
    lr: float
    seed: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A piece of work for one process."""

    trial: Trial | None
    """None for the bare base."""
    step: Literal["train", "measure"]
    """Measuring trains first, unless that is done already."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Materials:
    """Where a comparison finds what it works on."""

    base: str
    """Folder or hub name."""
    data: Path
    """Prepared splits."""
    cells: Path
    device: str = "cpu"


@final
class Bench:
    """Base, text and settings of a comparison in one process."""

    def __init__(self, materials: Materials, plan: ComparisonPlan, progress: Progress | None = None) -> None:
        check_device(materials.device)
        self.base: FrozenBase = freeze(materials.base, quantize=plan.quantize)
        model: Any = self.base.model
        model.to(materials.device)
        self.data: Splits = open_splits(materials.data)
        self.plan, self.store = plan, Store(materials.cells)
        self._device, self._progress = materials.device, progress or Silent()
        self._losses = Losses(seq_len=plan.evaluation_seq_len)

    def digest(self, job: Job) -> str:
        """The name of a job's result: a digest of everything that decides it, the code included."""
        data, plan, trial = self.data, self.plan, job.trial
        about: dict[str, Any] = {
            "base": self.base.digest,
            "step": job.step,
            "trial": trial,
            "code": {**{name: version(name) for name in _CODE}, "source": code_digest()},
            "device": self._device,
        }
        if trial is not None:
            domain = trial.domain or data.grown_domain
            about["train"] = data.of(domain, "train").digest
            about["select"] = data.select[data.grown_domain].digest
            about["schedule"] = self._schedule(trial)
            about["kind"] = plug_in_digest(trial.candidate.kind) if trial.candidate else ""
        if job.step == "measure":
            about["seq_len"] = plan.evaluation_seq_len
            about["documents"] = [corpus.digest for corpus in (data.held_out, *data.protected.values())]
        return digest(about)

    def result(self, job: Job) -> dict[str, Any] | None:
        """What came of a job, if it was done before; there is nothing to measure after a training that diverged."""
        if job.trial is None:
            return self.store.read(self.digest(job))
        if job.step == "train":
            return self._trained(self.digest(job))
        if (found := self.store.read(self.digest(job))) is not None:
            return found
        trained = self._trained(self.digest(Job(trial=job.trial, step="train")))
        return trained if trained and "failure" in trained else None

    def do(self, job: Job) -> dict[str, Any]:
        """Do a job, unless it was done before; what came of it is on the disk when this returns."""
        if (done := self.result(job)) is not None:
            return done
        if job.trial is None:
            return self.store.once(self.digest(job), lambda: self._timed(lambda: self._losses_of(self.base.model)))
        trial = job.trial
        training = self.digest(Job(trial=trial, step="train"))
        trained = self._trained(training)
        if trained is None or (job.step == "measure" and self._lacks_weights(training, trained)):
            trained = self._train(trial, training)
        if job.step == "train" or "failure" in trained:
            return trained
        weights = self.store.weights(training)
        assert weights is not None  # they are forgotten only once the run has been measured
        return self.store.once(self.digest(job), lambda: self._timed(lambda: self._measure(trial, weights)))

    def forget(self, trial: Trial) -> None:
        """The weights of a run are not needed any more."""
        self.store.forget_weights(self.digest(Job(trial=trial, step="train")))

    def _trained(self, name: str) -> dict[str, Any] | None:
        """What came of a training; a checkpoint that a kill left beside it goes."""
        found = self.store.read(name)
        if found is not None:
            self.store.checkpoint(name).unlink(missing_ok=True)
        return found

    def _lacks_weights(self, training: str, trained: Mapping[str, Any]) -> bool:
        return "failure" not in trained and self.store.weights(training) is None

    def _train(self, trial: Trial, name: str) -> dict[str, Any]:
        started, checkpoint = time.monotonic(), self.store.checkpoint(name)
        self._reset_peak()
        try:
            content, result = (
                self._train_graft(trial, checkpoint) if trial.candidate else self._train_whole(trial, checkpoint)
            )
        except DivergedError as error:
            result = {"failure": str(error)}
        else:
            result["peak_bytes_on_device"] = self._peak()
            self.store.keep_weights(name, content)
        result["wall_s"] = time.monotonic() - started
        self.store.write(name, result)
        checkpoint.unlink(missing_ok=True)
        return result

    def _train_graft(self, trial: Trial, checkpoint: Path) -> tuple[bytes, dict[str, Any]]:
        assert trial.candidate is not None  # the caller has looked
        started, resumed = self._clock(), checkpoint.exists()
        graft = train(self.base, (), trial.candidate, self.data.train, **self._training(trial, checkpoint))
        assert graft.history is not None  # it was just trained
        train_s = None if resumed else self._clock() - started  # being born takes time as well
        content = graft.to_bytes()
        result = self._result(graft.history, train_s, graft.num_params, len(content))
        graft.requires_grad_(requires_grad=True)
        return content, result | self._count(compose(self.base, [graft]), graft, self.data.train, trial.seed)

    def _train_whole(self, trial: Trial, checkpoint: Path) -> tuple[bytes, dict[str, Any]]:
        text = self.data.of(trial.domain, "train")
        started, resumed = self._clock(), checkpoint.exists()
        settings = self._training(trial, checkpoint)
        model, history = continue_training(self.base, text, lr=trial.lr, seed=trial.seed, **settings)
        content = save({name: tensor.detach().contiguous().cpu() for name, tensor in model.named_parameters()})
        train_s = None if resumed else self._clock() - started
        result = self._result(history, train_s, self.base.num_params, _BYTES_PER_WEIGHT * self.base.num_params)
        model.requires_grad_(requires_grad=True)
        return content, result | self._count(model, model, text, trial.seed)

    def _schedule(self, trial: Trial) -> Schedule:
        """The plan's; a whole base has no strength that could fade in."""
        return self.plan.schedule if trial.candidate else replace(self.plan.schedule, fade_in=0.0)

    def _training(self, trial: Trial, checkpoint: Path) -> dict[str, Any]:
        select = self.data.select[self.data.grown_domain]
        return {
            "select": select,
            "schedule": self._schedule(trial),
            "checkpoint": checkpoint,
            "progress": self._progress,
        }

    def _result(self, history: History, train_s: float | None, num_params: int, num_bytes: int) -> dict[str, Any]:
        """What is kept of a training.

        Args:
            train_s: None for a run that was taken up from a checkpoint: no clock has all of it.
        """
        return {
            "train_s": train_s,
            "history": to_plain(history),
            "select_bpb": history.best_bpb,
            "num_params": num_params,
            "num_bytes": num_bytes,
            "tokens_per_step": self.plan.schedule.tokens_per_step,
        }

    def _count(self, model: nn.Module, learning: nn.Module, text: Corpus, seed: int) -> dict[str, Any]:
        schedule = self.plan.schedule
        batches = text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=seed)
        count = count_step(model, learning.parameters(), batches[0])
        return {"step": {**to_plain(count), "memory_bytes": count.memory_bytes}}

    def _measure(self, trial: Trial, weights: bytes) -> dict[str, Any]:
        if trial.candidate is None:
            return {**self._losses_of(self._whole(weights)), "flops_per_token": 0, "merge_drift": None}
        graft = grow_from(trial.candidate, weights=weights).requires_grad_(requires_grad=False).eval()
        cost = measure_cost(self.base, (), graft)
        return {
            **self._losses_of(compose(self.base, [graft])),
            "flops_per_token": cost.flops_per_token,
            "merge_drift": self._merge_drift(graft),
        }

    def _losses_of(self, model: nn.Module) -> dict[str, Any]:
        """Nats of each document: on the text of the gain, and on what must not be forgotten."""
        return {
            "held_out": self._losses.measure(model, self.data.held_out).tolist(),
            "retained": {
                domain: self._losses.measure(model, corpus).tolist() for domain, corpus in self.data.protected.items()
            },
        }

    def _merge_drift(self, graft: Graft) -> float | None:
        """The largest difference of a logit once the graft is merged into the weights; None where it cannot be."""
        try:
            merged = merge(self.base, [graft])
        except ExportError:
            return None
        return float((probe_logits(merged.model) - probe_logits(compose(self.base, [graft]))).abs().max())

    @torch.no_grad()
    def _whole(self, weights: bytes) -> nn.Module:
        """The base with weights that were trained, over a copy of its own."""
        learnt = load(weights)
        model = copy.deepcopy(self.base.model)
        for name, parameter in model.named_parameters():
            parameter.copy_(learnt[name])
        return model

    def _timed(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        started = time.monotonic()
        return {**work(), "wall_s": time.monotonic() - started}

    def _clock(self) -> float:
        """Seconds: of the processor where it is all that works, so that what else a machine does is not counted."""
        return time.process_time() if self._device == "cpu" else time.monotonic()

    def _reset_peak(self) -> None:
        if self._device != "cpu":
            torch.cuda.reset_peak_memory_stats()

    def _peak(self) -> int | None:
        return None if self._device == "cpu" else torch.cuda.max_memory_allocated()


def whole_domain(data: Splits, whole: str) -> str:
    """Whose train split a whole base learns from.

    Raises:
        ConfigError: There is not exactly one domain that the base could go on with.
    """
    if whole == "full":
        return data.grown_domain
    able = [name for name, role in data.roles.items() if role == "retain" and f"{name}/train" in data.corpora]
    if len(able) != 1:
        raise ConfigError(
            f"an arm goes on with the text of the base's own domain, and {len(able)} retained domains have a train "
            "split; give exactly one, or leave that arm out"
        )
    return able[0]


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        ConfigError: It is not there.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(
            f"the device is {device!r}, and PyTorch finds no such accelerator on this machine; leave --device out, or "
            "install a build of PyTorch for it"
        )
