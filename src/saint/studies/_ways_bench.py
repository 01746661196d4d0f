"""The work of a study of ways: one model from nothing at a time, measured, and what came of it kept."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from saint import records
from saint.data import Splits, open_splits
from saint.errors import DivergedError
from saint.evaluation import Losses
from saint.progress import Progress, Silent
from saint.search import Result, Store, code_digest
from saint.studies._timing import plain_history, watching_the_clock
from saint.studies._ways_plan import WaysPlan
from saint.training import BasePlan, count_step, pretrain

_PACKAGES = ("saint-g", "torch", "transformers")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OneWay:
    """The training of one model."""

    model: BasePlan

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
            result = self._learnt(work.model, name)
        except DivergedError as error:
            result = {"failure": str(error)}
        self.store.write(name, result)
        self.store.checkpoint(name).unlink(missing_ok=True)
        return result

    @property
    def _select(self) -> Any:
        return self.data.select[self.data.grown_domain]

    def _learnt(self, plan: BasePlan, name: str) -> Result:
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
        plain = plain_history(history, busy)
        learning = [one for one in model.parameters() if one.requires_grad]
        schedule = plan.schedule
        batches = self.data.train.batches(
            batch_size=schedule.batch_size // schedule.accumulate, seq_len=schedule.seq_len, seed=0
        )
        count = count_step(model, learning, batches[0])
        model.requires_grad_(requires_grad=False).eval()
        return {
            "held_out": self._losses.measure(model, self.data.held_out).tolist(),
            "select_bpb": min(bpb for _, bpb in plain["select_bpb"]),
            "curve": plain["select_bpb"],
            "active_params": sum(one.numel() for one in learning),
            "total_params": sum(one.numel() for one in model.parameters()),
            "train_tokens": plain["train_tokens"],
            "train_s": plain["time_s"],
            "flops": count.num_flops * schedule.accumulate * schedule.num_steps,
        }


@cache
def ways_code() -> dict[str, str]:
    """What decides such a study's results beside the plan and what it names."""
    source = code_digest(("studies/_ways_bench.py", "studies/_timing.py"))
    return {**{name: version(name) for name in _PACKAGES}, "source": source}
