"""Workers and coordinators that are killed at random: no trial is lost, none is judged twice, the same is accepted."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.distributed.setting import Setting, Site, site_for
from benchmarks.search.findings import Findings
from saint.registry import Registry, verify

_WORKERS, _COORDINATORS = 50, 10
_AT_MOST_SEARCHES = 12


def measure(setting: Setting) -> Findings:
    """Searches one after the other, each against the same one that nobody disturbs, until so many were killed."""
    findings = Findings(setting=setting.search)
    chance = random.Random(0)
    wanted = (
        Counter(worker=_WORKERS, coordinator=_COORDINATORS)
        if setting.size == "full"
        else Counter(worker=2, coordinator=1)
    )
    killed: Counter[str] = Counter()
    found: Counter[str] = Counter()
    searches = 0
    while (
        killed["worker"] < wanted["worker"] or killed["coordinator"] < wanted["coordinator"]
    ) and searches < _AT_MOST_SEARCHES:
        quiet, disturbed = (
            site_for(setting, f"kills-{name}-{searches}", seed=searches) for name in ("quiet", "disturbed")
        )
        _must_end(_grow(quiet, workers=2))
        _disturb(disturbed, chance, killed, wanted)
        found += _compared(quiet.registry.folder, disturbed.registry.folder)
        searches += 1
    for name, what in (
        ("trials_lost", "trials of an undisturbed search that are missing"),
        ("trained_twice", "trials that are in the ledger more than once"),
        ("judged_twice", "grafts that were judged more than once on one stack"),
        ("grafts_that_differ", "trials that came to other grafts, and judgements that came out otherwise"),
        ("accepted_that_differ", "searches that accepted something else"),
        ("damaged", "ledgers that do not verify"),
    ):
        findings.ask(name, what, "", float(found[name]), 0, "at_most")
    findings.ask("workers_killed", "kill -9 of workers", "", float(killed["worker"]), wanted["worker"])
    findings.ask(
        "coordinators_killed", "kill -9 of coordinators", "", float(killed["coordinator"]), wanted["coordinator"]
    )
    findings.notes.append(f"{searches} searches of {found['trials']} trials in all")
    return findings


def _grow(site: Site, *, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "saint.cli", "grow", str(site.registry.folder), "--workers", str(workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - our own command


def _must_end(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"growth ended with status {process.returncode}: {said.decode()[-2000:]}")


def _disturb(site: Site, chance: random.Random, killed: Counter[str], wanted: Counter[str]) -> None:
    """Kill until enough were, or the search ends; then let it end."""
    process = _grow(site, workers=2)
    while process.poll() is None:
        time.sleep(chance.uniform(1.0, 8.0))
        is_coordinators = killed["coordinator"] < wanted["coordinator"] and chance.random() < 0.2
        if is_coordinators:
            process.kill()
            process.communicate()
            killed["coordinator"] += 1
            process = _grow(site, workers=2)
        elif killed["worker"] < wanted["worker"] and (workers := _workers_of(process.pid)):
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed["worker"] += 1
        elif killed["coordinator"] >= wanted["coordinator"]:
            break
    _must_end(process)


def _workers_of(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        return [child for child in map(int, children) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


def _compared(quiet_folder: Path, disturbed_folder: Path) -> Counter[str]:
    quiet, disturbed = Registry.open(quiet_folder), Registry.open(disturbed_folder)
    expected, found = quiet.state, disturbed.state
    events = disturbed.ledger.events()
    trained = Counter(event.body["trial"] for event in events if event.name == "trained")
    judged = Counter(
        (event.body["graft"], *event.body["evidence"]["stack"]) for event in events if event.name == "judged"
    )
    both = expected.trained.keys() & found.trained.keys()
    differ = sum(found.trained[name]["graft"] != expected.trained[name]["graft"] for name in both)
    outcomes = [sorted((entry.digest, entry.status) for entry in state.judged) for state in (expected, found)]
    return Counter(
        trials=len(expected.trained),
        trials_lost=len(expected.trained.keys() - found.trained.keys()),
        trained_twice=sum(number - 1 for number in trained.values()),
        judged_twice=sum(number - 1 for number in judged.values()),
        grafts_that_differ=differ + (outcomes[0] != outcomes[1]),
        accepted_that_differ=int(expected.standing != found.standing),
        damaged=len(verify(disturbed).problems),
    )
