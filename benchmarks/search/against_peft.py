"""Against plain PEFT in transformers' own training loop, at the same parameters from the same start.

The rival is `peft.get_peft_model` and `transformers.Trainer` with the optimiser, clipping and schedule of ours, and no
evaluation, logging or saving. That both take the same first step is checked before anything is timed.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments
from typing_extensions import override

from benchmarks.search import steps
from benchmarks.search.base import random_base, random_model, splits
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting
from benchmarks.search.timing import take_turns
from saint.composition import PrefixCache, compose, newborn
from saint.data import Splits
from saint.grafts import Graft
from saint.models import FrozenBase, token_nats
from saint.records import Candidate
from saint.training import Schedule, Workspace, train_many

_EQUAL = 1e-5


def measure(setting: Setting) -> Findings:
    """Whole trainings of as many steps as a candidate has, set-up included, at the last third and everywhere."""
    found, data = Findings(setting=setting), splits(setting)
    base = random_base(setting, data, "small")
    places = (("last_third", steps.last_third(setting), 1.5), ("all_layers", range(setting.num_layers), 1.1))
    for name, depths, target in places:
        candidate = steps.lora_at(steps.linear_sites(base, depths))
        schedule = steps.schedule_of(setting)
        found.notes.append(_same_first_step(setting, data, base, candidate, schedule))
        cache = PrefixCache()  # as in a round, where the candidates before have filled it
        ways: dict[str, Callable[[], Any]] = {
            "ours": partial(_ours, base, candidate, data, schedule, cache),
            "ours, nothing cached before": partial(_ours, base, candidate, data, schedule, None),
            "peft": partial(_theirs, _wrapped(setting, data, newborn(base, candidate)), data, schedule, candidate.lr),
        }
        times = take_turns(ways, repeats=setting.repeats)
        what = f"LoRA of rank {steps.LORA_RANK}, {name.replace('_', ' ')}, {schedule.num_steps} steps"
        found.ask(f"peft_{name}", what, "peft and Trainer", times.ratio("ours", "peft"), target)
        cold = "ours, nothing cached before"
        found.add(f"{what}, nothing cached before", "peft and Trainer", times.ratio(cold, "peft"))
    return found


def _ours(base: FrozenBase, candidate: Candidate, data: Splits, schedule: Schedule, cache: PrefixCache | None) -> None:
    train_many(base, (), [candidate], data.train, schedule=schedule, work=Workspace(cache=cache))


def _wrapped(setting: Setting, data: Splits, graft: Graft) -> Any:
    """The same base in PEFT, with the same maps changed from the same start."""
    from peft import LoraConfig, get_peft_model

    modules = [site.module for site in graft.candidate.sites]
    rank = graft.candidate.options["rank"]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=modules, lora_dropout=0.0, bias="none")
    model: Any = get_peft_model(random_model(setting, data, "small"), config)
    parts: dict[str, Any] = graft.parts
    with torch.no_grad():
        for name in modules:
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(parts[name].a)
            layer.lora_B["default"].weight.copy_(parts[name].b)
    theirs = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert theirs == graft.num_params, "the rival must have as many parameters"
    return model


@final
class _Rows(Dataset[dict[str, Tensor]]):
    """The rows that ours learns from, in that order."""

    def __init__(self, data: Splits, schedule: Schedule) -> None:
        batches = data.train.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=0)
        self._rows = torch.cat([batches[step] for step in range(schedule.num_steps)])

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self._rows[index]
        return {"input_ids": row[:-1], "labels": row[1:]}


@final
class _InOrder(Trainer):
    """Reads its rows in the order that they are given in, and follows our schedule."""

    saint_schedule: Schedule

    @override
    def _get_train_sampler(self, *_arguments: Any, **_others: Any) -> Any:
        return None

    @override
    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        learning: Any = optimizer or self.optimizer
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(learning, self.saint_schedule.lr_share)
        return self.lr_scheduler


def _theirs(model: Any, data: Splits, schedule: Schedule, lr: float) -> None:
    """Train; the labels are shifted already, so that no token is read for nothing."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=str(Path(folder)),
            per_device_train_batch_size=schedule.batch_size,
            max_steps=schedule.num_steps,
            learning_rate=lr,
            adam_beta1=schedule.beta1,
            adam_beta2=schedule.beta2,
            weight_decay=schedule.weight_decay,
            max_grad_norm=schedule.clip_norm,
            optim="adamw_torch_fused",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=0,
        )
        trainer = _InOrder(
            model=model, args=arguments, train_dataset=_Rows(data, schedule), compute_loss_func=_mean_nats
        )
        trainer.saint_schedule = schedule
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _mean_nats(outputs: Any, labels: Tensor, **_others: Any) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())


def _same_first_step(setting: Setting, data: Splits, base: FrozenBase, candidate: Candidate, schedule: Schedule) -> str:
    """Both losses on the next batch after one step, which must agree."""
    one = steps.schedule_of(setting, num_steps=1)
    model = _wrapped(setting, data, newborn(base, candidate))
    _theirs(model, data, one, candidate.lr)
    [trained] = train_many(base, (), [candidate], data.train, schedule=one)
    assert trained.graft is not None, trained.failure
    after = data.train.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=0)[1]
    losses = [_loss(model, after), _loss(compose(base, [trained.graft]), after)]
    assert abs(losses[0] - losses[1]) < _EQUAL, f"after one step the losses are {losses}"
    before = _loss(base.model, after)
    assert abs(before - losses[0]) > 0, "a step moves the loss"
    return f"loss after one step at {len(candidate.sites)} maps: {losses[0]:.6f} peft, {losses[1]:.6f} ours"


@torch.no_grad()
def _loss(model: Any, tokens: Tensor) -> float:
    return float(token_nats(model, tokens).mean())
