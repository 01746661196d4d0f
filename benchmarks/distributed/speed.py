"""Two workers on two cores against one worker on one core: the same trials in turn, in one run."""

import os
import time
from pathlib import Path

from benchmarks.distributed.setting import Setting, Site, site_for
from benchmarks.search.findings import Findings
from benchmarks.search.timing import Ratio
from saint.growth import Hands
from saint.search import Processes

_TURNS, _TRIALS = 3, 4


def measure(setting: Setting) -> Findings:
    """Trials per hour; the coordinator, who checks and records, is on the same cores as its workers."""
    findings = Findings(setting=setting.search)
    if len(setting.cores) < 2:
        findings.notes.append("this process may use one core only, so two workers have none of their own: not measured")
        return findings
    sites = {number: site_for(setting, f"speed-{number}") for number in (1, 2)}
    crews = {number: site.hands(number) for number, site in sites.items()}
    turns, trials = (_TURNS, _TRIALS) if setting.size == "full" else (1, 2)
    taken: dict[int, list[float]] = {1: [], 2: []}
    try:
        for number, site in sites.items():
            _run(site, *crews[number], number, setting, seeds=range(1_000, 1_000 + number))  # everybody is there
        for turn in range(turns):
            for number, site in sites.items():
                seeds = range(turn * trials, (turn + 1) * trials)
                taken[number].append(_run(site, *crews[number], number, setting, seeds=seeds))
    finally:
        os.sched_setaffinity(0, setting.cores)
        for hands, _ in crews.values():
            hands.__exit__(None, None, None)
    same = {number: _grafts(site) for number, site in sites.items()}
    ratio = Ratio.of([one / two for one, two in zip(taken[1], taken[2], strict=True)])
    findings.ask("trials_per_hour", "2 workers on 2 cores", "1 worker on 1 core", ratio, 1.7)
    shared = same[1].keys() & same[2].keys()
    differing = sum(same[1][name] != same[2][name] for name in shared)
    findings.ask("grafts_that_differ", f"of {len(shared)} trained by both", "", float(differing), 0, "at_most")
    findings.notes.append(
        f"{trials} trials a turn; one worker took {', '.join(f'{one:.1f} s' for one in taken[1])}, two took "
        f"{', '.join(f'{two:.1f} s' for two in taken[2])}"
    )
    return findings


def _run(site: Site, hands: Hands, processes: Processes, number: int, setting: Setting, *, seeds: range) -> float:
    """Seconds for some trials, on as many cores as there are workers."""
    cores = list(setting.cores)[:number]
    os.sched_setaffinity(0, cores)
    for place, worker in enumerate(hands.crew.workers):
        pid = processes.process_of(worker.name).pid
        assert pid is not None  # it was started
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), [cores[place % number]])
    trials = site.trials(list(seeds), depth=0)
    began = time.monotonic()
    hands.train(site.journal, trials)
    return time.monotonic() - began


def _grafts(site: Site) -> dict[str, str]:
    return {name: str(trial["graft"]) for name, trial in site.registry.state.trained.items()}
