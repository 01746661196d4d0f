"""The base's memory on a machine with two workers, against one: what is shared counts once, the coordinator's too."""

import os
from collections.abc import Mapping
from pathlib import Path

import saint
from benchmarks.distributed.setting import Setting, Site, site_for
from benchmarks.search.base import random_model, splits
from benchmarks.search.findings import Findings
from saint.search import Job

_KIB = 1 << 10
_MIB = 1 << 20


def measure(setting: Setting) -> Findings:
    """Shares of pages (Pss) of the mapped weights, and what a worker has of its own beyond one with a tiny base.

    The coordinator has the same pages, so its share is added: without it two workers would seem to need more than one.
    """
    findings = Findings(setting=setting.search)
    large, small = _site(setting, "large"), _site(setting, "small")
    size = sum(file.stat().st_size for file in Path(large.base.source).glob("*.safetensors"))
    own = _held(small, 1)["own"]
    taken = {}
    for number in (1, 2):
        held = _held(large, number)
        taken[number] = held["weights"] + max(0, held["own"] - number * own)
        findings.notes.append(
            f"{number} worker(s): {held['weights'] / _MIB:.1f} MiB of the weights' file of {size / _MIB:.1f} MiB, "
            f"{(held['own'] - number * own) / _MIB:+.1f} MiB beyond {number} worker(s) with a small base"
        )
    findings.ask("memory_of_base", "2 workers", "1 worker", taken[2] / taken[1], 1.2, "at_most")
    return findings


def _site(setting: Setting, width: str) -> Site:
    data = splits(setting.search)
    folder = setting.scratch / f"base-{width}"
    random_model(setting.search, data, "large" if width == "large" else "small").save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)
    return site_for(setting, f"memory-{width}", base=saint.freeze(folder))


def _held(site: Site, number: int) -> dict[str, int]:
    """Bytes that workers hold once they have opened everything, by sort."""
    hands, processes = site.hands(number)
    total = {"weights": 0, "own": 0}
    with hands:
        hands.crew.submit([Job(name="none")], check=lambda *_: None)  # nobody is hired for nothing
        hands.crew.is_paused = True
        while not hands.crew.workers or any(worker.state == "starting" for worker in hands.crew.workers):
            hands.crew.turn()
        source = str(Path(site.base.source).resolve())
        for worker in hands.crew.workers:
            held = _pages(processes.process_of(worker.name).pid, source)
            total = {sort: total[sort] + held[sort] for sort in total}
        total["weights"] += _pages(os.getpid(), source)["weights"]
    return total


def _pages(pid: int | None, source: str) -> Mapping[str, int]:
    """Bytes of a process, each page divided by how many processes have it: of the base's files, and of none."""
    held, sort = {"weights": 0, "own": 0}, ""
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, *rest = line.split(None, 5)
        if "-" in name and not name.endswith(":"):
            place = rest[4] if len(rest) > 4 else ""
            sort = "weights" if place.startswith(source) else "" if place.startswith("/") else "own"
        elif name == "Pss:" and sort:
            held[sort] += int(rest[0]) * _KIB
    return held
