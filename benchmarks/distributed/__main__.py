"""How fast growth with workers is, what coordinating costs, and what kills do to it.

    python -m benchmarks.distributed [--only GROUP ...] [--json FILE] [--size tiny] [--work FOLDER]

prints a table of findings and then a line for each figure that was asked for; the exit status is 1 when one is short.
The groups: speed and overhead take some minutes, memory and simulation one, kills a quarter of an hour. `speed` wants
two cores that nobody else uses. The first run trains the base.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from benchmarks.distributed.setting import Setting, quieten
from benchmarks.search.__main__ import findings_table, say_notes
from benchmarks.search.base import default_work
from benchmarks.search.findings import Findings

GROUPS = ("speed", "overhead", "memory", "simulation", "kills")


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="This group alone; may be given several times.")
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", help="tiny: does it run at all?")
@click.option("--work", type=click.Path(path_type=Path), default=None, help="Where text and base are kept.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything here too.")
def main(only: tuple[str, ...], size: Any, work: Path | None, json_path: Path | None) -> None:
    torch.set_num_threads(1)
    quieten()
    work = work or Path(os.environ.get("SAINT_BENCH_WORK", default_work()))
    console, found = Console(width=None if sys.stdout.isatty() else 180), dict[str, Findings]()
    with tempfile.TemporaryDirectory(prefix="saint-distributed-") as scratch:
        os.environ.setdefault("SAINT_HOME", f"{scratch}/home")  # what is measured is nothing to remember
        setting = Setting(work=work, scratch=Path(scratch), size=size)
        for group in [group for group in GROUPS if group in (only or GROUPS)]:
            started = os.times()
            found[group] = importlib.import_module(f"benchmarks.distributed.{group}").measure(setting)
            ended = os.times()
            console.print(findings_table(group, found[group]))
            say_notes(found[group], sum(ended[:4]) - sum(started[:4]))
            if json_path:
                told = {name: findings.to_plain() for name, findings in found.items()}
                json_path.write_text(json.dumps({"size": size, "groups": told}, indent=2) + "\n")
    figures = [figure for findings in found.values() for figure in findings.figures]
    for figure in figures:
        print(figure)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


if __name__ == "__main__":
    main()
