"""The work of a study of composed experts: one training or one composition at a time, measured and kept."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from saint import records
from saint.backbones import MixtureForCausalLM
from saint.composition import average, mix, mixture_cost
from saint.data import Corpus, Splits, open_splits
from saint.errors import DivergedError
from saint.evaluation import Losses
from saint.progress import Progress, Silent
from saint.search import Result, Store, code_digest
from saint.studies._experts_plan import CompositionPlan, ExpertsPlan, Way
from saint.studies._kept import keep_model, read_model
from saint.studies._timing import plain_history, watching_the_clock
from saint.training import BasePlan, pretrain, train_free

_PACKAGES = ("saint-g", "torch", "transformers")
_JUDGED = {"grow": "held_out", "retain": "retain", "safety": "safety"}
_EXPERTS_APART = 1_000  # between the seeds of experts of one group: each starts from a place of its own
_GATE_SEED = 500_000
JOINT = "joint"
"""A model on the text of all experts, on as many tokens as all of them."""
JOINT_SHORT = "joint, as long as one"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """The training of one model from nothing."""

    group: str
    part: str
    """The name of an expert's text, or one of the joint models."""
    seed: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Composing:
    """The experts of a group and seed as one model."""

    group: str
    way: Way
    seed: int


@final
class ExpertsBench:
    """Text and settings of such a study in one process."""

    def __init__(self, data: Path, cells: Path, plan: CompositionPlan, progress: Progress | None = None) -> None:
        self.data: Splits = open_splits(data)
        self.plan, self.store = plan, Store(cells)
        self._progress = progress or Silent()
        self._losses = Losses(seq_len=plan.evaluation_seq_len)
        self._groups = {one.name: one for one in plan.groups}

    @property
    def domains(self) -> list[str]:
        """Those that have an expert each."""
        return [name for name, role in self.data.roles.items() if role != "safety"]

    @property
    def judged(self) -> dict[str, Corpus]:
        """Domain -> the text that all models are measured on, unseen domains included."""
        return {name: self.data.of(name, _JUDGED[role]) for name, role in self.data.roles.items()}

    def parts(self, group: ExpertsPlan) -> list[str]:
        """What the experts of a group are called."""
        if group.apart == "domains":
            return self.domains
        return [f"part {number}" for number in range(1, len(self.domains) + 1)]

    def text(self, part: str, split: str) -> Corpus:
        """What a part learns from, or is stopped by.

        Raises:
            DataError: The domains were cut into tokens in different ways.
        """
        if part in self.domains:
            return self.data.of(part, split)
        first, *others = (self.data.of(name, split) for name in self.domains)
        whole = first.joined(others, name=f"all/{split}")
        if part in (JOINT, JOINT_SHORT) or split != "train":
            return whole
        number, of = int(part.removeprefix("part ")) - 1, len(self.domains)
        return whole.take(np.flatnonzero([int(one[:8], 16) % of == number for one in whole.documents]))

    def base_plan(self, work: Learning) -> BasePlan:
        """What is trained."""
        group, schedule = self._groups[work.group], self.plan.schedule
        if work.part == JOINT:
            schedule = replace(schedule, num_steps=schedule.num_steps * len(self.domains))
        names = [*self.parts(group), JOINT, JOINT_SHORT]
        seed = work.seed + _EXPERTS_APART * (1 + names.index(work.part))
        return group.base(work.part, seed, schedule)

    def digest(self, work: Learning | Composing) -> str:
        """The name of a result: a digest of everything that decides it, the code included."""
        if isinstance(work, Composing):
            gate = self.plan.gate if work.way == "gate" else None
            return records.digest({"way": work.way, "gate": gate, "of": list(map(self.digest, self.experts(work)))})
        return records.digest(
            {
                "model": self.base_plan(work),
                "learns": [self.text(work.part, split).digest for split in ("train", "select")],
                "judged": {name: text.digest for name, text in self.judged.items()},
                "tokenizer": self.data.tokenizer_digest,
                "seq_len": self.plan.evaluation_seq_len,
                "code": experts_code(),
            }
        )

    def experts(self, work: Composing) -> list[Learning]:
        """The trainings that a composition is of."""
        group = self._groups[work.group]
        return [Learning(group=group.name, part=part, seed=work.seed) for part in self.parts(group)]

    def result(self, work: Learning | Composing) -> Result | None:
        """What came of it, if it was done before; an expert whose weights are gone is not done."""
        name = self.digest(work)
        found = self.store.read(name)
        if found is not None and isinstance(work, Learning) and work.part not in (JOINT, JOINT_SHORT):
            return found if "failure" in found or self.store.weights(name) is not None else None
        return found

    def do(self, work: Learning | Composing) -> Result:
        """Train or compose, and measure, unless that was done before; it is on the disk when this returns."""
        if (found := self.result(work)) is not None:
            return found
        name = self.digest(work)
        try:
            result = self._learnt(work, name) if isinstance(work, Learning) else self._composed(work, name)
        except DivergedError as error:
            result = {"failure": str(error)}
        self.store.write(name, result)
        self.store.checkpoint(name).unlink(missing_ok=True)
        return result

    def _learnt(self, work: Learning, name: str) -> Result:
        plan = self.base_plan(work)
        (model, history), busy = watching_the_clock(
            lambda: pretrain(
                plan,
                self.data.tokenizer,
                self.text(work.part, "train"),
                select=self.text(work.part, "select"),
                checkpoint=self.store.checkpoint(name),
                progress=self._progress,
            )
        )
        keep_model(self.store, name, model)
        plain = plain_history(history, busy)
        model.requires_grad_(requires_grad=False).eval()
        return {
            "nats": self._measured(model),
            "train_tokens": plain["train_tokens"],
            "train_s": plain["time_s"],
            "select_bpb": min(bpb for _, bpb in plain["select_bpb"]),
            "cost": {"held_params": sum(one.numel() for one in model.parameters())},
        }

    def _composed(self, work: Composing, name: str) -> Result:
        experts = [self._read(one) for one in self.experts(work)]
        if work.way == "weight_average":
            one = average(experts)
            cost = {"held_params": sum(each.numel() for each in one.parameters())}
            return {"nats": self._measured(one), "train_tokens": 0, "train_s": 0.0, "cost": cost}
        mixture = mix(experts, work.way, names=[one.part for one in self.experts(work)])
        learnt = self._train_gate(mixture, work, name) if mixture.gate is not None else {}
        return {
            "nats": self._measured(mixture),
            "train_tokens": learnt.get("train_tokens", 0),
            "train_s": learnt.get("time_s", 0.0),
            "cost": records.to_plain(mixture_cost(mixture, seq_len=self.plan.evaluation_seq_len)),
        }

    def _train_gate(self, mixture: MixtureForCausalLM, work: Composing, name: str) -> Result:
        """From the text of all experts; they stay as they are."""
        history, busy = watching_the_clock(
            lambda: train_free(
                mixture,
                self.text(JOINT, "train"),
                of={"gate of": list(map(self.digest, self.experts(work)))},
                lr=self.plan.gate.lr,
                select=self.text(JOINT, "select"),
                schedule=self.plan.gate.schedule,
                seed=work.seed + _GATE_SEED,
                checkpoint=self.store.checkpoint(name),
                progress=self._progress,
            )
        )
        return plain_history(history, busy)

    def _read(self, work: Learning) -> PreTrainedModel:
        """An expert that was trained before.

        Raises:
            DivergedError: It did not learn.
            DataError: It was never trained.
        """
        name = self.digest(work)
        if "failure" in (self.store.read(name) or {}):
            raise DivergedError(f"the expert on {work.part} with seed {work.seed} did not learn")
        return read_model(self.store, name, self.base_plan(work), self.data.tokenizer)

    def _measured(self, model: nn.Module) -> dict[str, Any]:
        """Domain -> nats of each document."""
        return {name: self._losses.measure(model, text).tolist() for name, text in self.judged.items()}


@cache
def experts_code() -> dict[str, str]:
    """What decides such a study's results beside the plan and what it names."""
    source = code_digest(("studies/_experts_bench.py", "studies/_kept.py", "studies/_timing.py"))
    return {**{name: version(name) for name in _PACKAGES}, "source": source}
