"""What the parts of a search took: as a registry's ledger has it, or measured here on a base that stands in for it."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any, final

import torch

from saint.candidates import train_flops
from saint.composition import compose, newborn
from saint.data import Corpus
from saint.errors import ConfigError
from saint.grafts import Graft, grow_from
from saint.growth._plan import Plan
from saint.models import FrozenBase, token_nats
from saint.records import Candidate
from saint.registry import Event, Registry
from saint.training import Schedule, train_many

_RANK = 8
_TIMED_STEPS = 4
_REPEATS_OF_STEPS = 2
_REPEATS = 9
_LEAST_S = 1e-6
_TIMED_TOKENS = 8192
_BACKWARD = 3  # passes forward that a pass forward and back takes
_KIB = 1024


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class UnitCosts:
    """Seconds and bytes of the parts of a search, on a base of `num_params` parameters."""

    source: str
    """Where they are from, for people."""
    num_params: int
    trial_s: tuple[float, ...]
    """Each trial that was timed."""
    trial_tokens: float
    """That a trial learns from, on average."""
    flops_per_s: float
    """Operations of training in a second of a worker."""
    measure_s: float
    """To measure a graft on development text again."""
    judge_s: float
    """For a finalist: strengths, development text, and sealed text."""
    round_s: float
    """To begin and to end a round."""
    answer_s: float
    """To read a graft from its bytes and look whether it is well formed."""
    append_s: float
    """To write a trial to a ledger on this disk."""
    runtime_bytes: int | None = None
    """Of a process before it has a base; None where the system does not tell."""
    trial_bytes: int | None = None
    """That training a trial takes at most besides runtime and base."""

    def scaled(
        self, *, num_params: float | None = None, flops_per_s: float | None = None, tokens: float | None = None
    ) -> "UnitCosts":
        """The same for another base, worker or length of a trial, by the operations that it takes.

        Operations per token are taken to grow as parameters do, and so is what a trial keeps in memory; what the loop,
        the ledger and a process by itself take stays.

        Raises:
            ConfigError: A number is not positive.
        """
        for name, value in (("num_params", num_params), ("flops_per_s", flops_per_s), ("tokens", tokens)):
            if value is not None and not 0 < value < inf:
                raise ConfigError(f"{name} is {value:g}; expected a number above 0")
        size = (num_params or self.num_params) / self.num_params
        slower = size * self.flops_per_s / (flops_per_s or self.flops_per_s)
        longer = (tokens or self.trial_tokens) / self.trial_tokens
        return replace(
            self,
            num_params=round(size * self.num_params),
            trial_s=tuple(seconds * slower * longer for seconds in self.trial_s),
            trial_tokens=self.trial_tokens * longer,
            flops_per_s=flops_per_s or self.flops_per_s,
            measure_s=self.measure_s * slower,
            judge_s=self.judge_s * slower,
            round_s=self.round_s * slower,
            answer_s=self.answer_s * size,
            trial_bytes=None if self.trial_bytes is None else round(self.trial_bytes * size),
        )


def measure_units(
    base: FrozenBase, text: Corpus, plan: Plan, *, select_tokens: int, judge_tokens: int, folder: Path | None = None
) -> UnitCosts:
    """Time a few steps of LoRA at low, middle and high sites, reading text, a graft and a ledger, on this machine.

    With one thread, as workers have. Of what computes it is the time of this process on the processor.

    Args:
        text: What it learns from and reads; what it says does not matter.
        select_tokens: Development text of the search.
        judge_tokens: Held-out and retained text together.
        folder: Where a ledger is written that is deleted again; by default where the system keeps such things.
    """
    with _one_thread():
        return _measured(base, text, plan, select_tokens, judge_tokens, folder)


def _measured(
    base: FrozenBase, text: Corpus, plan: Plan, select_tokens: int, judge_tokens: int, folder: Path | None
) -> UnitCosts:
    schedule, sites = plan.schedule, [site for site in base.sites() if site.sort == "linear" and site.depth >= 0]
    chosen = [sites[0], sites[len(sites) // 2], sites[-1]]
    candidates = [Candidate(sites=(site,), kind="lora", options={"rank": _RANK}) for site in chosen]
    runtime, begun = None, _begin_peak()
    trial_s = [_trial_seconds(base, text, schedule, candidate) for candidate in candidates]
    peak = _peak()
    sizes = {"num_tokens": schedule.num_tokens, "seq_len": schedule.seq_len}
    flops = sum(train_flops(candidate, base.sites(), **sizes) for candidate in candidates)
    graft = newborn(base, candidates[0])
    token_s = _token_seconds(base, graft, text, schedule)
    weights = graft.to_bytes()
    if begun is not None:
        runtime = max(0, begun - _num_bytes(base))
    return UnitCosts(
        source=f"measured on this machine, on {base.num_params:,} parameters with one thread",
        num_params=base.num_params,
        trial_s=tuple(trial_s),
        trial_tokens=schedule.num_tokens,
        flops_per_s=flops / sum(trial_s),
        measure_s=token_s * select_tokens,
        judge_s=token_s * ((len(plan.strengths) + 1) * select_tokens + 2 * judge_tokens),
        round_s=token_s * _BACKWARD * plan.sensitivity.num_batches * schedule.tokens_per_step,
        answer_s=_best_seconds(lambda: grow_from(candidates[0], weights=weights)),
        append_s=_append_seconds(weights, folder),
        runtime_bytes=runtime,
        trial_bytes=None if begun is None or peak is None else max(0, peak - begun),
    )


def units_in(registry: Registry, here: UnitCosts) -> UnitCosts:
    """What the ledger says that trials and judging took; the rest as it was measured here.

    What a reading of development text takes follows from the rate at which trials learnt. Of judging, and of the ends
    of rounds, it is the median over the rounds, to a second each.

    Raises:
        ConfigError: No trial was recorded.
    """
    state = registry.state
    timed = [one for one in state.trained.values() if one.get("train_seconds", 0) > 0 and one.get("train_flops", 0) > 0]
    if not timed:
        raise ConfigError(
            f"{registry.folder} has recorded no trial that took any time; grow it first, or give a plan instead"
        )
    seconds = tuple(float(one["train_seconds"]) for one in timed)
    flops_per_s = sum(one["train_flops"] for one in timed) / sum(seconds)
    num_params = int(state.created["base"]["num_params"])
    select = state.created["data"][f"{state.grown_domain}/select"]["num_tokens"]
    local = here.scaled(num_params=num_params, flops_per_s=flops_per_s)
    judging, ends = _round_times(registry.ledger.events())
    return replace(
        local,
        source=f"{len(timed)} trials and {len(ends)} rounds in {registry.folder}",
        trial_s=seconds,
        trial_tokens=sum(one["train_tokens"] for one in timed) / len(timed),
        measure_s=2 * num_params * select / flops_per_s,
        judge_s=statistics.median(judging) if judging else local.judge_s,
        round_s=statistics.median(ends) if ends else local.round_s,
    )


def _round_times(events: Sequence[Event]) -> tuple[list[float], list[float]]:
    """For each round that was closed: seconds for each finalist, and from the last of them to its end."""
    judging, ends = [], []
    trained = judged = 0.0
    num_judged = 0
    for event in events:
        now = datetime.fromisoformat(event.time).timestamp()
        if event.name == "round_opened":
            trained, judged, num_judged = now, now, 0
        elif event.name == "trained" and not num_judged:
            trained = now
        elif event.name == "judged":
            judged, num_judged = now, num_judged + 1
        elif event.name == "round_closed" and num_judged:
            judging.append((judged - trained) / num_judged)
            ends.append(now - judged)
    return judging, ends


def _trial_seconds(base: FrozenBase, text: Corpus, schedule: Schedule, candidate: Candidate) -> float:
    """Of a whole schedule, by some steps less fewer, so that what is done once does not count."""

    def train(steps: int) -> float:
        few = replace(schedule, num_steps=steps, evaluate_every=steps)
        return _processor_seconds(lambda: train_many(base, (), [candidate], text, schedule=few))

    train(1)
    few, more = (min(train(steps) for _ in range(_REPEATS_OF_STEPS)) for steps in (1, 1 + _TIMED_STEPS))
    return max(more - few, _LEAST_S) / _TIMED_STEPS * schedule.num_steps


def _token_seconds(base: FrozenBase, graft: Graft, text: Corpus, schedule: Schedule) -> float:
    """Of reading a token with the base and a graft."""
    batches = text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=0)
    num = max(1, _TIMED_TOKENS // schedule.tokens_per_step)
    model = compose(base, [graft])

    def read() -> None:
        with torch.no_grad():
            for number in range(num):
                token_nats(model, batches[number].to(base.model.device))

    read()
    return min(_processor_seconds(read) for _ in range(_REPEATS_OF_STEPS)) / (num * schedule.tokens_per_step)


def _append_seconds(weights: bytes, folder: Path | None) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        registry = Registry.open(Path(made) / "registry")
        body: dict[str, Any] = {"what": "x" * 4 * _KIB}
        return _best_seconds(lambda: registry.write("noted", body, contents=[weights]))


def _best_seconds(work: Callable[[], object]) -> float:
    """Of several times: other work on the machine only adds to them."""
    return min(_seconds(work) for _ in range(_REPEATS))


def _processor_seconds(work: Callable[[], object]) -> float:
    """Of this process: other work on the machine hardly moves them."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _num_bytes(base: FrozenBase) -> int:
    return sum(tensor.nbytes for tensor in (*base.model.parameters(), *base.model.buffers()))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin_peak() -> int | None:
    """Resident bytes now, which is the peak from here on; None where the kernel keeps no record of it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _peak()


def _peak() -> int | None:
    try:
        told = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in told if line.startswith("VmHWM:")), None)
