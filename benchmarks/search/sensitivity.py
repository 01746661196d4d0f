"""What it costs to ask every map about every site, against training one candidate of the search."""

from functools import partial

from benchmarks.search import steps
from benchmarks.search.base import splits, trained_base
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting
from benchmarks.search.timing import take_turns
from saint import discovery
from saint.models import counting_flops
from saint.sensitivity import measure_sensitivities
from saint.testing import naive_train
from saint.training import train

NUM_BATCHES = 8
"""Batches of the schedule's size that the maps look at: 8,192 tokens, as in the reference."""
_MAPS, _ALONE = "all maps, all sites", "training one candidate"


def measure(setting: Setting) -> Findings:
    """Processor time and operations; the candidate is LoRA at one map in the middle of the depth, never evaluated."""
    found, data = Findings(setting=setting), splits(setting)
    base, methods = trained_base(setting, data), discovery.names("sensitivity")
    [site] = [site for site in base.sites() if site.role == "up" and site.depth == setting.num_layers // 2]
    candidate, schedule = steps.lora_at((site,)), steps.schedule_of(setting)
    maps = partial(
        measure_sensitivities,
        base,
        data.train,
        methods,
        num_batches=NUM_BATCHES,
        batch_size=setting.batch_size,
        seq_len=setting.seq_len,
    )
    alone = partial(train, base, (), candidate, data.train, schedule=schedule)
    naive = partial(naive_train, base, (), candidate, data.train, schedule=schedule)
    times = take_turns({_MAPS: maps, _ALONE: alone, "naive": naive}, repeats=setting.repeats)
    what = f"{_MAPS}, {NUM_BATCHES * setting.batch_size * setting.seq_len:,} tokens"
    found.ask("sensitivity_cost", what, f"{_ALONE} (share of its time)", times.ratio(_ALONE, _MAPS), 0.5, "at_most")
    found.add(what, "naive training of one candidate (share of its time)", times.ratio("naive", _MAPS))
    flops = {}
    for name, work in ((_MAPS, maps), (_ALONE, alone)):
        with counting_flops() as counter:
            work()
        flops[name] = counter.get_total_flops()
    found.add(what, f"{_ALONE} (share of its operations)", flops[_MAPS] / flops[_ALONE])
    found.notes.append(f"maps: {', '.join(methods)}")
    return found
