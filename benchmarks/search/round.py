"""A whole round: 36 candidates on the trained base of nine blocks, the search's way against the naive way.

Candidates are LoRA of rank 8 at each v, o, up and down, all with the learning rate that both ways use. The naive way
trains and measures all and takes the best on *select*. The search asks the maps, keeps a third of each role, lets
successive halving decide between these, and measures the one that is left. Both see the same text; each seed is
another start and another order of it. The gain is read on held-out text, which chose nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from benchmarks.search import steps
from benchmarks.search.base import splits, trained_base
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting
from benchmarks.search.timing import Ratio, seconds_of
from saint.data import Splits
from saint.evaluation import Losses, evaluate
from saint.models import FrozenBase, counting_flops
from saint.records import Candidate, Interval
from saint.sensitivity import measure_sensitivity
from saint.testing import naive_round
from saint.training import Rung, Search, train_many

ROLES = ("v", "o", "up", "down")
LR = 1e-2
MAP = "gate"
NUM_BATCHES = 8
SEARCH = Search(rungs=(Rung(at=1 / 6, keep=0.5), Rung(at=1 / 3, keep=1 / 3)))
EXHAUSTIVE = Search()
_NAIVE = "naive"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a round came to."""

    candidate: Candidate
    gain_bpb: Interval


def measure(setting: Setting) -> Findings:
    """Processor time per accepted graft and the gain of what is accepted, seed by seed; operations over the bound."""
    found, data = Findings(setting=setting), splits(setting)
    base, gains = trained_base(setting, data), []
    speeds: dict[str, list[float]] = defaultdict(list)
    for seed in range(setting.seeds):
        outcomes, seconds = _one_seed(setting, base, data, seed)
        for way in outcomes:
            speeds[way].append(seconds[_NAIVE] / seconds[way])
        gains.append(outcomes["search"].gain_bpb.estimate / outcomes[_NAIVE].gain_bpb.estimate)
        found.notes += [_told(seed, way, outcomes[way], seconds[way]) for way in outcomes]
    what = f"round of {len(_candidates(setting, base, 0))}, time per accepted graft"
    found.ask("round_speed", what, "naive", Ratio.of(speeds["search"]), 12.0)
    found.ask("round_engine_speed", f"{what}, caches and cohorts alone", "naive", Ratio.of(speeds["exhaustive"]), 3.0)
    found.ask("round_gain", "gain of what the round accepts", "exhaustive choice", Ratio.of(gains), 1.0)
    ratio = _operations(setting, base, data)
    found.ask("round_flops_over_bound", "operations of the round", "only what the winner needs", ratio, 8.0, "at_most")
    return found


def _one_seed(
    setting: Setting, base: FrozenBase, data: Splits, seed: int
) -> tuple[dict[str, Outcome], dict[str, float]]:
    """Way -> what it accepts and its processor seconds; one after the other, in this process."""
    candidates = _candidates(setting, base, seed)
    ways = {
        "search": partial(_searched, setting, base, data, candidates),
        "exhaustive": partial(_trained, setting, base, data, candidates, EXHAUSTIVE),
        _NAIVE: partial(_naive, setting, base, data, candidates),
    }
    outcomes: dict[str, Outcome] = {}
    seconds = {}
    for way, run in ways.items():
        seconds[way] = seconds_of(lambda way=way, run=run: outcomes.__setitem__(way, run()))  # type: ignore[misc]
    return outcomes, seconds


def _candidates(setting: Setting, base: FrozenBase, seed: int) -> list[Candidate]:
    rank = steps.LORA_RANK if setting.size == "full" else 2
    return [steps.lora_at((s,), rank=rank, lr=LR, seed=seed) for s in base.sites() if s.role in ROLES]


def _naive(setting: Setting, base: FrozenBase, data: Splits, candidates: Sequence[Candidate]) -> Outcome:
    trials = naive_round(
        base,
        (),
        candidates,
        data.train,
        select=data.select[data.grown_domain],
        held_out=data.held_out,
        retain=data.retain,
        schedule=steps.schedule_of(setting),
    )
    return Outcome(candidate=trials[0].graft.candidate, gain_bpb=trials[0].gain_bpb)


def _searched(setting: Setting, base: FrozenBase, data: Splits, candidates: Sequence[Candidate]) -> Outcome:
    return _trained(setting, base, data, promising(setting, base, data, candidates), SEARCH)


def promising(setting: Setting, base: FrozenBase, data: Splits, candidates: Sequence[Candidate]) -> list[Candidate]:
    """A third of each role, the most sensitive: maps rank well within a role and badly across roles."""
    seen = measure_sensitivity(
        base,
        data.train,
        method=MAP,
        num_batches=NUM_BATCHES,
        batch_size=setting.batch_size,
        seq_len=setting.seq_len,
    )
    kept: list[Candidate] = []
    for role in ROLES:
        there = [candidate for candidate in candidates if candidate.sites[0].role == role]
        there.sort(key=lambda candidate: -seen.scores[candidate.sites[0].key])
        kept += there[: max(1, len(there) // 3)]
    return kept


def _trained(
    setting: Setting, base: FrozenBase, data: Splits, candidates: Sequence[Candidate], search: Search
) -> Outcome:
    """Train by the engine, take the best on *select*, and measure that one."""
    trained = train_many(
        base,
        (),
        candidates,
        data.train,
        select=data.select[data.grown_domain],
        schedule=steps.schedule_of(setting),
        search=search,
    )
    best = steps.best_on_select(trained)
    losses = Losses(seq_len=setting.seq_len)
    evidence = evaluate(base, (), best, data.sealed, grown=data.grown_domain, losses=losses)
    return Outcome(candidate=best.candidate, gain_bpb=evidence.gain_bpb)


def _operations(setting: Setting, base: FrozenBase, data: Splits) -> float:
    """Counted operations of the round, over those of asking the map and training and measuring the winner alone."""
    candidates = _candidates(setting, base, 0)
    with counting_flops() as of_round:
        outcome = _searched(setting, base, data, candidates)
    with counting_flops() as of_winner:
        promising(setting, base, data, candidates)
        _trained(setting, base, data, [outcome.candidate], EXHAUSTIVE)
    return float(of_round.get_total_flops() / of_winner.get_total_flops())


def _told(seed: int, way: str, outcome: Outcome, seconds: float) -> str:
    site, gain = outcome.candidate.sites[0], outcome.gain_bpb
    return (
        f"seed {seed}, {way}: {seconds:.1f} s of processor time, accepts {site.key}, gain {gain.estimate:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}] bits per byte"
    )
