"""The work of a study of ways: one model from nothing at a time, measured, and what came of it kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from torch import nn

from saint import records
from saint.composition import compose
from saint.data import Splits, open_splits
from saint.errors import DivergedError
from saint.evaluation import Losses
from saint.grafts import History
from saint.models import freeze
from saint.operators import expand
from saint.operators.g_stack import GStack
from saint.progress import Progress, Silent
from saint.search import Result, Store, code_digest
from saint.studies._in_depth import STAGES_APART, Growing, Grown
from saint.studies._timing import plain_history, watching_the_clock
from saint.studies._ways_plan import InDepth, WaysPlan
from saint.training import BasePlan, Schedule, continue_training, count_step, pretrain

_PACKAGES = ("saint-g", "torch", "transformers")
_FILES = (
    "grafts/_layer_adapters.py",
    "grafts/readjust.py",
    "growth/_layers.py",
    "growth/_layerwise.py",
    "operators/_expand.py",
    "operators/_parts.py",
    "operators/g_stack.py",
    "studies/_in_depth.py",
    "studies/_timing.py",
    "studies/_ways_bench.py",
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OneWay:
    """The training of one model."""

    model: BasePlan
    grown: InDepth | None = None
    stacked: int = 1

    def with_seed(self, seed: int) -> "OneWay":
        """The same by another chance."""
        return replace(self, model=replace(self.model, seed=seed))


@final
class WaysBench:
    """Text and settings of such a study in one process."""

    def __init__(self, data: Path, cells: Path, plan: WaysPlan, progress: Progress | None = None) -> None:
        self.data: Splits = open_splits(data)
        self.plan, self.store = plan, Store(cells)
        self._progress = progress or Silent()
        self._losses = Losses(seq_len=plan.evaluation_seq_len)

    def digest(self, work: OneWay) -> str:
        """The name of a result: a digest of everything that decides it, the code included."""
        return records.digest(
            {
                "way": work,
                "text": [text.digest for text in (self.data.train, self._select, self.data.held_out)],
                "tokenizer": self.data.tokenizer_digest,
                "seq_len": self.plan.evaluation_seq_len,
                "code": ways_code(),
            }
        )

    def result(self, work: OneWay) -> Result | None:
        """What came of a training, if it was done before."""
        return self.store.read(self.digest(work))

    def do(self, work: OneWay) -> Result:
        """Train and measure, unless that was done before; what came of it is on the disk when this returns."""
        if (found := self.result(work)) is not None:
            return found
        name = self.digest(work)
        try:
            result = self._trained(work, name)
        except DivergedError as error:
            result = {"failure": str(error)}
        self.store.write(name, result)
        saved = self.store.checkpoint(name)
        for path in (saved, *saved.parent.glob(f"{saved.name}.*")):
            path.unlink(missing_ok=True)
        return result

    @property
    def _select(self) -> Any:
        return self.data.select[self.data.grown_domain]

    def _trained(self, work: OneWay, name: str) -> Result:
        if work.grown is not None:
            return self._grown(work.model, work.grown, name)
        return self._stacked(work.model, work.stacked, name) if work.stacked > 1 else self._whole(work.model, name)

    def _whole(self, plan: BasePlan, name: str) -> Result:
        (model, history), busy = watching_the_clock(
            lambda: pretrain(
                plan,
                self.data.tokenizer,
                self.data.train,
                select=self._select,
                checkpoint=self.store.checkpoint(name),
                progress=self._progress,
            )
        )
        size = self._size(model, plan.schedule)
        model.requires_grad_(requires_grad=False).eval()
        return {**self._measured(model), **_joined([_stage(plain_history(history, busy))]), **size}

    def _size(self, model: nn.Module, schedule: Schedule) -> Result:
        """Parameters of a model that learns as a whole, and the operations of all its steps."""
        learning = [one for one in model.parameters() if one.requires_grad]
        batches = self.data.train.batches(
            batch_size=schedule.batch_size // schedule.accumulate, seq_len=schedule.seq_len, seed=0
        )
        count = count_step(model, learning, batches[0])
        return {
            "active_params": sum(one.numel() for one in learning),
            "total_params": sum(one.numel() for one in model.parameters()),
            "flops": count.num_flops * schedule.accumulate * schedule.num_steps,
        }

    def _stacked(self, plan: BasePlan, times: int, name: str) -> Result:
        """A part of the blocks for a part of the steps, then all of them, stacked."""
        whole, saved = plan.schedule, self.store.checkpoint(name)
        first = replace(
            plan,
            model={**plan.model, "num_hidden_layers": plan.model["num_hidden_layers"] // times},
            schedule=replace(whole, num_steps=whole.num_steps // times),
        )
        rest = replace(whole, num_steps=whole.num_steps - first.schedule.num_steps)
        text, watched = self.data.train, {"select": self._select, "progress": self._progress}

        def train() -> tuple[tuple[nn.Module, History, Result], tuple[nn.Module, History]]:
            checkpoint = saved.with_name(f"{saved.name}.0")
            small, history = pretrain(first, self.data.tokenizer, text, checkpoint=checkpoint, **watched)
            size = self._size(small, first.schedule)
            larger = freeze(expand(small, GStack(times=times)).model, tokenizer=self.data.tokenizer)
            seed = plan.seed + STAGES_APART
            return (small, history, size), continue_training(
                larger, text, lr=plan.lr, schedule=rest, seed=seed, checkpoint=saved, **watched
            )

        ((_, early, small_size), (model, late)), busy = watching_the_clock(train)
        size = self._size(model.requires_grad_(requires_grad=True), rest)
        model.requires_grad_(requires_grad=False).eval()
        stages = [_stage(plain_history(one, busy)) for one in (early, late)]
        return {**self._measured(model), **_joined(stages), **size, "flops": small_size["flops"] + size["flops"]}

    def _grown(self, plan: BasePlan, grown: InDepth, name: str) -> Result:
        growing = Growing(
            plan,
            grown,
            self.data.tokenizer,
            self.data.train,
            self._select,
            checkpoint=self.store.checkpoint(name),
            progress=self._progress,
        )
        found, busy = watching_the_clock(growing.grow)
        stages = [_stage(plain_history(one.history, busy)) for one in found.stages]
        return {
            **self._measured(found.model),
            **_joined(stages),
            "active_params": max(one.active_params for one in found.stages),
            "total_params": found.base.num_params
            + sum(graft.num_params for graft in found.stack)
            - found.folded_params,
            "flops": sum(one.flops for one in found.stages),
            "stages": [
                {**plain, "active_params": one.active_params, "held_out": nats}
                for plain, one, nats in zip(stages, found.stages, self._each_stage(found), strict=True)
            ],
        }

    def _each_stage(self, found: Grown) -> list[list[float]]:
        """The held-out text under what there was after each stage."""
        models = [compose(found.base, found.stack[:number]) for number in range(len(found.stages))]
        return [self._losses.measure(model, self.data.held_out).tolist() for model in models]

    def _measured(self, model: nn.Module) -> Result:
        return {"held_out": self._losses.measure(model, self.data.held_out).tolist()}


def _joined(stages: Sequence[Result]) -> Result:
    """What stages one after the other come to."""
    return {
        "select_bpb": stages[-1]["select_bpb"],
        "curve": [one["curve"] for one in stages],
        "train_tokens": sum(one["train_tokens"] for one in stages),
        "train_s": sum(one["train_s"] for one in stages),
    }


def _stage(plain: Result) -> Result:
    """What there is to keep of how something was trained."""
    return {
        "select_bpb": min(bpb for _, bpb in plain["select_bpb"]),
        "curve": plain["select_bpb"],
        "train_tokens": plain["train_tokens"],
        "train_s": plain["time_s"],
    }


@cache
def ways_code() -> dict[str, str]:
    """What decides such a study's results beside the plan and what it names."""
    source = code_digest(_FILES)
    return {**{name: version(name) for name in _PACKAGES}, "source": source}
