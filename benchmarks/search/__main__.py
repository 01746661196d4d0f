"""How fast and how good the search is, as ratios to named rivals in one run on one thread.

    python -m benchmarks.search [--only GROUP ...] [--json FILE] [--size tiny] [--work FOLDER]

prints a table of ratios and then a line for each figure that was asked for; the exit status is 1 when one is short. The
groups, and what they cost on one core: hardware, prefix, cohorts, against_peft, sensitivity and evaluation some minutes
each at most; round and hard_control train to the end, and take half an hour each. The first run trains the base.
"""

import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.search.base import default_work
from benchmarks.search.findings import Findings, Row
from benchmarks.search.setting import Setting
from saint.cli._terminal import quieten

GROUPS = (
    "hardware",
    "prefix",
    "cohorts",
    "against_peft",
    "sensitivity",
    "evaluation",
    "round",
    "hard_control",
)
_PACKAGES = ("saint-g", "torch", "transformers", "peft")


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="This group alone; may be given several times.")
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", help="tiny: does it run at all?")
@click.option("--work", type=click.Path(path_type=Path), default=None, help="Where text and base are kept.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each timing.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Of whole rounds and stacks.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything here too.")
def main(only: tuple[str, ...], size: Any, work: Path | None, repeats: int, seeds: int, json_path: Path | None) -> None:
    torch.set_num_threads(1)
    quieten()
    work = work or Path(os.environ.get("SAINT_BENCH_WORK", default_work()))
    setting = Setting(work=work, size=size, repeats=repeats, seeds=seeds)
    console, found = Console(width=None if sys.stdout.isatty() else 180), {}
    for group in [group for group in GROUPS if group in (only or GROUPS)]:
        started = time.process_time()
        findings: Findings = importlib.import_module(f"benchmarks.search.{group}").measure(setting)
        found[group] = findings
        console.print(findings_table(group, findings))
        say_notes(findings, time.process_time() - started)
        if json_path:  # after each group, so that a run which is cut off loses nothing
            json_path.write_text(json.dumps(_record(setting, found), indent=2) + "\n")
    figures = [figure for findings in found.values() for figure in findings.figures]
    for figure in figures:
        print(figure)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


def findings_table(group: str, findings: Findings) -> Table:
    table = Table(title=group, title_justify="left", box=box.HORIZONTALS)
    for column in ("what", "against"):
        table.add_column(column)
    for column in ("median", "[min, max]", "target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in findings.rows:
        ratio = row.ratio
        reached = "" if row.target is None else "ok" if _reached(row) else "short"
        spread = "" if ratio.low == ratio.high else f"\\[{ratio.low:.3g}, {ratio.high:.3g}]"
        table.add_row(row.what, row.rival, f"{ratio.median:.3g}", spread, _target(row), reached)
    return table


def _reached(row: Row) -> bool:
    assert row.target is not None
    return row.ratio.median >= row.target if row.sense == "at_least" else row.ratio.median <= row.target


def _target(row: Row) -> str:
    return "" if row.target is None else f"{'>=' if row.sense == 'at_least' else '<='} {row.target:g}"


def say_notes(findings: Findings, seconds: float) -> None:
    for note in findings.notes:
        print(f"  {note}")
    for what in findings.wide:
        print(f"  turns differ by more than 15 %, run it again on a quieter machine: {what}")
    print(f"  {seconds:.0f} s of processor time\n")


def _record(setting: Setting, found: dict[str, Findings]) -> dict[str, Any]:
    return {
        "size": setting.size,
        "repeats": setting.repeats,
        "seeds": setting.seeds,
        "machine": {"processor": platform.machine(), "num_cores": os.cpu_count(), "load": os.getloadavg()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "groups": {group: findings.to_plain() for group, findings in found.items()},
    }


if __name__ == "__main__":
    main()
