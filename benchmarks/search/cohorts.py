"""What it saves to train candidates side by side: LoRA at one site, low in the last third, of rank 8.

The batch is that of the reference, two rows of 64 tokens, where a single candidate leaves a machine idle; the batch of
the search itself is measured beside it.
"""

import json
import subprocess
import sys
from typing import Any

from benchmarks.search import memory, steps
from benchmarks.search.base import random_base, splits
from benchmarks.search.engine import EngineSteps
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting, Width
from benchmarks.search.timing import Ratio, take_turns
from saint.data import Splits
from saint.models import FrozenBase
from saint.records import Candidate
from saint.training import Search, train_many

_ROWS, _TOKENS = 2, 64
_COHORT = 8
_SIZES = (1, 2, 4, 8, 16)


def measure(setting: Setting) -> Findings:
    """Time per candidate against training each alone with hooks, and memory against one alone."""
    found, data = Findings(setting=setting), splits(setting)
    for width in ("small", "middle"):
        _by_size(found, setting, data, width)
    _as_chosen(found, setting, data)
    _same_bits(found, setting, data)
    _memory(found, setting)
    return found


def same_site(setting: Setting, base: FrozenBase, num: int) -> list[Candidate]:
    """Candidates that differ in their start and learning rate only, at a map that the whole last third is above."""
    [site] = [site for site in base.sites() if site.role == "q" and site.depth == min(steps.last_third(setting))]
    return [steps.lora_at((site,), lr=steps.LR * (1 + 0.1 * index)) for index in range(num)]


def _by_size(found: Findings, setting: Setting, data: Splits, width: Width) -> None:
    base, d_model = random_base(setting, data, width), setting.d_model(width)
    tokens = _TOKENS if setting.size == "full" else setting.seq_len
    batches = steps.batches_of(setting, data, batch_size=_ROWS, seq_len=tokens) * 2
    ways: dict[str, Any] = {"hooks": steps.hooks(base, same_site(setting, base, 1)[0], batches)}
    for num in _SIZES:
        for cached in (False, True):
            ways[_name(num, cached=cached)] = EngineSteps(
                setting, base, same_site(setting, base, num), data.train, batches, cached=cached
            )
    times = take_turns(ways, repeats=setting.repeats)
    for num in _SIZES:
        for cached in (False, True):
            ratio = times.ratio(_name(num, cached=cached), "hooks", work=num)
            what = f"{_name(num, cached=cached)}, per candidate, d={d_model}, {_ROWS} x {tokens} tokens"
            if width == "small" and num == _COHORT:
                name, target = ("cohort_cached_vs_hooks", 2.2) if cached else ("cohort_vs_hooks", 1.8)
                found.ask(name, what, "hooks, one by one", ratio, target)
            else:
                found.add(what, "hooks, one by one", ratio)


def _as_chosen(found: Findings, setting: Setting, data: Splits) -> None:
    """As many together as the engine itself would take, against one alone, both on cached prefixes."""
    choices: list[tuple[Ratio, str]] = []
    widths: tuple[Width, ...] = ("small", "middle")
    for width in widths:
        base = random_base(setting, data, width)
        for rows, tokens in ((_ROWS, min(_TOKENS, setting.seq_len)), (setting.batch_size, setting.seq_len)):
            num = Search().num_together(rows * tokens, base.model.device)
            what = f"{num} together, as the engine chooses, d={setting.d_model(width)}, {rows} x {tokens} tokens"
            if num == 1:  # it chooses solo
                found.add(what, "solo, cached", 1.0)
                continue
            batches = steps.batches_of(setting, data, batch_size=rows, seq_len=tokens)
            ways = {
                name: EngineSteps(setting, base, same_site(setting, base, n), data.train, batches, cached=True)
                for name, n in (("chosen", num), ("solo", 1))
            }
            ratio = take_turns(ways, repeats=setting.repeats).ratio("chosen", "solo", work=num)
            found.add(what, "solo, cached", ratio)
            choices.append((ratio, what))
    ratio, what = min(choices, key=lambda choice: choice[0].median)
    found.ask("cohort_never_slower", f"slowest choice: {what}", "solo, cached", ratio, 1.0)


def _same_bits(found: Findings, setting: Setting, data: Splits) -> None:
    """In exact mode a candidate comes to the same bytes, whether one or eight are trained together."""
    base = random_base(setting, data, "small")
    candidates, select = same_site(setting, base, _COHORT), data.select[data.grown_domain]
    schedule = steps.schedule_of(setting, num_steps=6, batch_size=_ROWS, seq_len=min(_TOKENS, setting.seq_len))
    came = []
    for together in (1, _COHORT):
        search = Search(max_cohort=together, exact=True)
        trained = train_many(base, (), candidates, data.train, select=select, schedule=schedule, search=search)
        came.append([one.graft.to_bytes() for one in trained if one.graft is not None])
    equal = sum(one == other for one, other in zip(*came, strict=True)) / _COHORT
    found.ask(
        "cohort_same_bits", f"share of {_COHORT} grafts equal to the bit, exact mode", "one at a time", equal, 1.0
    )


def _memory(found: Findings, setting: Setting) -> None:
    """Peaks of fresh processes, the grafts' own states taken off, and what autograd keeps."""
    solo, cohort = (_peak(setting, num) for num in (1, _COHORT))
    own = solo["states"], cohort["states"]
    peak = (cohort["peak"] - own[1]) / (solo["peak"] - own[0])
    found.ask("cohort_memory", f"peak memory, {_COHORT} together", "solo", peak, 2.0, "at_most")
    found.add(
        f"peak memory above the loaded base, {_COHORT} together",
        "solo",
        (cohort["peak"] - own[1] - cohort["loaded"]) / max(1, solo["peak"] - own[0] - solo["loaded"]),
    )
    found.add(f"kept for backward, {_COHORT} together", "solo", cohort["kept"] / solo["kept"])


def _peak(setting: Setting, num: int) -> dict[str, int]:
    command = [sys.executable, "-m", memory.__name__, str(setting.work), setting.size, str(num)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    peaks: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def _name(num: int, *, cached: bool) -> str:
    return f"{num} together{' on a cached prefix' if cached else ''}"
