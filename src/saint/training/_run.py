"""A base trained from a file of settings: resumed to the same bits, with its metrics beside it."""

import os
import shutil
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from saint import records
from saint.data import Corpus, TokenShards, open_shards
from saint.errors import ConfigError, DivergedError, Interrupted
from saint.folders import alone_in
from saint.models import document_nats, family_of, must_read, rows_together
from saint.progress import Progress, Silent, Task
from saint.training._processes import Processes, device_named, together
from saint.training._run_checkpoint import Checkpoints
from saint.training._run_metrics import Metrics, flops_of_a_row, peak_flops, peak_memory_mib
from saint.training._run_plan import RunPlan
from saint.training._sharding import divide, moments_of, put_together, weights_of
from saint.training._train import model_config, new_model


def train_run(plan: RunPlan, *, device: str = "cpu", progress: Progress | None = None) -> dict[str, Any]:
    """Train a base from nothing, or on from the newest checkpoint in `save_dir`; returns the last line of its metrics.

    What it comes to does not depend on where it was stopped: a step's text, its learning rate and its dropout follow
    from its number, and a checkpoint has the weights and the optimiser's moments to the bit. Under torchrun several
    processes share a step's passes: the step is the same, its sums are rounded differently. With `fsdp` they share the
    model too, and a checkpoint is as that of one process.

    Args:
        device: Of PyTorch's names, such as `cuda`.

    Raises:
        ConfigError: A setting is unknown to the model or cannot be met, or the device is not there.
        DataError, DamagedTextError: The text is missing, too short or damaged.
        CheckpointError: `save_dir` holds another run, or its newest checkpoint is damaged.
        DivergedError: The loss stopped being a number.
        Interrupted: A stop was asked for; a checkpoint was written.
    """
    progress = progress or Silent()
    text = open_shards(plan.data_dir, verify=True)
    place = device_named(device)
    with together(place) as processes, _alone(plan, processes), torch.random.fork_rng():
        progress = progress if processes.is_first else Silent()
        run = Run(plan, text, place, processes)
        if run.cut_warmup:
            progress.note(f"the warm-up is cut from {plan.warmup_tokens:,} tokens to a tenth of the run")
        with progress.task("training the base", total=run.num_tokens, unit="tokens") as task:
            task.advance(run.step * plan.tokens_per_step)
            return run.finish(task)


def _alone(plan: RunPlan, processes: Processes) -> AbstractContextManager[None]:
    return alone_in(Path(plan.save_dir)) if processes.is_first else nullcontext()


@final
class Run:
    """A model, its optimiser and its place in the text."""

    def __init__(self, plan: RunPlan, text: TokenShards, device: torch.device, processes: Processes) -> None:
        self._plan, self._text, self._device, self._processes = plan, text, device, processes
        self._passes = processes.share(plan.gradient_accumulation_steps)
        config = model_config(plan.model_type, plan.model, text.tokenizer)
        text.must_fit(config.vocab_size)
        must_read(config, plan.seq_len)
        identity = {"plan": plan.identity, "text": records.file_digest(text.folder / "manifest.json")}
        self._folder = Path(plan.save_dir)
        self._checkpoints = Checkpoints(
            folder=self._folder, identity=records.digest(identity), keep=plan.save_total_limit
        )
        newest = self._checkpoints.newest()
        self._model = _made(plan, config, text, newest)
        if plan.fsdp:
            processes.must_be_several()
            divide(self._model, device)
        nn.Module.to(self._model, device)
        row = torch.zeros(1, plan.seq_len, dtype=torch.int64, device=device)
        self._flops_per_step = flops_of_a_row(self._model, row) * plan.tokens_per_step // plan.seq_len
        self._peak_flops = peak_flops(device, plan.peak_tflops)
        if plan.gradient_checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of a new name that not all of transformers 5 has
                self._model.gradient_checkpointing_enable()
        self._optimizer = optimizer_of(self._model, plan)
        self.step = 0 if newest is None else self._checkpoints.restore(newest, self._model, self._optimizer)
        self._saved_step = self.step if newest else None
        self._batches = text.train.batches(batch_size=plan.batch_size, seq_len=plan.seq_len, seed=plan.seed)
        self._forward: nn.Module = _compiled(self._model, device) if plan.compile else self._model
        folder = self._folder if processes.is_first else None
        self._metrics = Metrics(folder, until=self.step, tensorboard=plan.tensorboard)
        self._held_out = text.corpora["val"].evenly(plan.eval_tokens) if "val" in text.corpora else None

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole run."""
        return self._plan.num_steps * self._plan.tokens_per_step

    @property
    def cut_warmup(self) -> bool:
        """Whether the plan's warm-up is longer than a run of this length has."""
        return self._plan.warmup_tokens > self.num_tokens // 10

    def finish(self, task: Task) -> dict[str, Any]:
        """Take the steps that are left; returns the last line of the metrics."""
        plan = self._plan
        try:
            while self.step < plan.num_steps:
                self._take_step()
                if self.step % plan.save_interval == 0:
                    self._save()
                self._tell(task)
            self._save()
        finally:
            self._metrics.close()
        return self._metrics.last if self._processes.is_first else {}

    def _tell(self, task: Task) -> None:
        """Report a step; a stop that one process was asked for stops all of them after the same step."""
        asked = None
        try:
            task.advance(self._plan.tokens_per_step)
        except Interrupted as error:
            asked = error
        if self._processes.any(asked is not None, self._device):
            self._save()
            raise asked or Interrupted("another process was asked to stop")

    def _save(self) -> None:
        if self.step == self._saved_step or not (self._processes.is_first or self._plan.fsdp):
            return
        weights, moments = weights_of(self._model), moments_of(self._model, self._optimizer)
        if self._processes.is_first:
            self._checkpoints.save(self.step, self._model, self._text.tokenizer, weights, moments)
        self._saved_step = self.step

    def _take_step(self) -> None:
        plan, began = self._plan, time.monotonic()
        lr = plan.lr_at((self.step + 1) * plan.tokens_per_step)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        losses, norm = self._gradients()
        if not torch.isfinite(norm):
            raise DivergedError(
                f"the loss or its gradient stopped being a number at step {self.step}; lower learning_rate, and go on "
                "from the newest checkpoint or in another save_dir"
            )
        self._optimizer.step()
        self.step += 1
        at = {"step": self.step, "tokens": self.step * plan.tokens_per_step}
        is_last = self.step == plan.num_steps
        if is_last or self.step % plan.log_interval == 0:
            found = {**losses, "grad_norm": float(norm), "lr": lr}
            self._metrics.write({**at, **found, **self._speed(time.monotonic() - began)})
        takes_part = self._processes.is_first or plan.fsdp  # a divided model needs everybody
        if self._held_out is not None and takes_part and (is_last or self.step % plan.eval_interval == 0):
            self._metrics.write({**at, **self._evaluate(self._held_out)})

    def _speed(self, time_s: float) -> dict[str, float | int]:
        """How fast a step of so many seconds was, and what of the devices it used."""
        flops = self._flops_per_step / time_s / self._processes.size
        found: dict[str, float | int] = {
            "tokens_per_s": round(self._plan.tokens_per_step / time_s),
            "tflops_per_s": flops / 1e12,
            "peak_memory_mib": peak_memory_mib(self._device),
        }
        return found if self._peak_flops is None else {**found, "mfu": flops / self._peak_flops}

    def _gradients(self) -> tuple[dict[str, float], Tensor]:
        """Means over a step's passes of the loss and of what it is made of, and the gradient's norm before clipping."""
        plan = self._plan
        self._model.train()
        self._optimizer.zero_grad()
        parts: dict[str, Tensor] = {}
        for index in self._passes:
            number = self.step * plan.gradient_accumulation_steps + index
            rows = self._batches.at(number * plan.batch_size * plan.seq_len).to(self._device)
            tokens, targets = rows[:, :-1], rows[:, 1:].contiguous()
            torch.manual_seed((plan.seed << 32) + number)  # dropout follows from the pass, as the text does
            with self._precision():
                found = self._forward(input_ids=tokens, labels=targets, shift_labels=targets, use_cache=False)
            (found.loss / plan.gradient_accumulation_steps).backward()
            for name, value in _numbers(found).items():
                parts[name] = parts.get(name, 0) + value.detach().float() / plan.gradient_accumulation_steps
        losses = torch.stack(list(parts.values()))
        self._processes.add_up(losses, () if plan.fsdp else self._model.parameters())
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), plan.max_grad_norm)
        return dict(zip(parts, losses.tolist(), strict=True)), put_together(norm)

    def _precision(self) -> AbstractContextManager[Any]:
        bf16 = self._plan.mixed_precision == "bf16"
        return torch.autocast(self._device.type, dtype=torch.bfloat16) if bf16 else nullcontext()

    @torch.no_grad()
    def _evaluate(self, text: Corpus) -> dict[str, float | int]:
        self._model.eval()
        rows = rows_together(self._plan.seq_len, self._device)
        windows = text.windows(seq_len=self._plan.seq_len, batch_size=rows)
        with self._precision():
            nats = float(document_nats(self._model, windows, text.num_documents).sum())
        num_tokens = text.num_tokens - text.num_documents
        mean = nats / num_tokens
        bpb = nats / log(2) / text.num_bytes
        return {"val_loss": mean, "val_perplexity": exp(min(mean, 700)), "val_bpb": bpb, "val_tokens": num_tokens}


def _numbers(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a model says its loss is, and is made of where it says that too."""
    return {name: value for name, value in found.items() if isinstance(value, Tensor) and not value.dim()}


def _compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """The model that makes its kernels at its first pass; both share all weights."""
    named = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(named) is None:
        raise ConfigError(
            f"compile is true, but there is no C++ compiler {named!r} to make the CPU's kernels; install one or "
            "name it in CXX, or leave compile out"
        )
    if device.type == "cuda" and find_spec("triton") is None:
        raise ConfigError("compile is true, but triton, which makes the GPU's kernels, is missing; leave compile out")
    compiled: nn.Module = torch.compile(model, dynamic=False)  # type: ignore[assignment]
    return compiled


def _made(plan: RunPlan, config: Any, text: TokenShards, checkpoint: Path | None) -> PreTrainedModel:
    """The model as a checkpoint has it, or with random weights that follow from the seed."""
    if checkpoint is not None:
        model: PreTrainedModel = family_of(config).from_pretrained(checkpoint, dtype=torch.float32)
        return model
    return new_model(config, text.tokenizer, seed=plan.seed, font=Path(plan.font) if plan.font else None)


def optimizer_of(model: nn.Module, plan: RunPlan) -> torch.optim.AdamW:
    """AdamW, whose decay shrinks the matrices of linear layers only, and no matrix that is also an embedding."""
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {module.weight for module in model.modules() if isinstance(module, nn.Linear | Conv1D)}
    decaying = [parameter for parameter in model.parameters() if parameter in linear - embeddings]
    others = [parameter for parameter in model.parameters() if parameter not in linear - embeddings]
    groups = [{"params": decaying, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    betas = (plan.adam_beta1, plan.adam_beta2)
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=betas, fused=True)
