"""Whether what the gates accept can be trusted: error rates, attacks, documents needed, time, and real grafts.

    python -m benchmarks.gates [--only GROUP ...] [--size full|smoke] [--seeds N] [--work FOLDER]

prints a table of each group and then a line for each figure that was asked for; the exit status is 1 when one is short.
A full run also writes the tables and a picture to `docs/results/gates`, or to the folder that is given.
"""

import importlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.gates.findings import Findings
from benchmarks.gates.setting import Setting
from saint.report._written import markdown_table, write_whole

GROUPS = ("null", "early", "adaptive", "boosting", "power", "speed", "contamination", "attribution", "real")
"""Modules of this folder, in the order in which they run; each has `measure(setting) -> Findings`."""
_RESULTS = Path(__file__).parents[2] / "docs" / "results" / "gates"


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="This group alone; may be given several times.")
@click.option("--size", type=click.Choice(["full", "smoke"]), default="full", help="smoke: does it run at all?")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Times as many simulations.")
@click.option("--work", type=click.Path(path_type=Path), default=None, help="Where results are written.")
def main(only: tuple[str, ...], size: Any, seeds: int, work: Path | None) -> None:
    setting = Setting(work=work or (_RESULTS if size == "full" else None), size=size, seeds=seeds)
    console, found = Console(width=None if sys.stdout.isatty() else 160), {}
    for group in [group for group in GROUPS if group in (only or GROUPS)]:
        started = time.process_time()
        findings: Findings = importlib.import_module(f"benchmarks.gates.{group}").measure(setting)
        found[group] = findings
        console.print(_table(group, findings))
        print(*(f"  {note}" for note in findings.notes), sep="\n")
        print(f"  {time.process_time() - started:.0f} s of processor time\n")
        if setting.work:
            write_whole(setting.work / f"{group}.md", "\n".join(_page(group, findings)))
    figures = [figure for findings in found.values() for figure in findings.figures]
    for figure in figures:
        print(figure)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


def _table(group: str, findings: Findings) -> Table:
    table = Table(title=group, title_justify="left", box=box.HORIZONTALS)
    for index, head in enumerate(findings.heads):
        table.add_column(head, justify="right" if index else "left")
    for row in findings.rows:
        table.add_row(*row)
    return table


def _page(group: str, findings: Findings) -> list[str]:
    """The group's table and figures in Markdown."""
    figures: Mapping[str, str] = {figure.name: str(figure) for figure in findings.figures}
    return [
        f"# {group}",
        "",
        *markdown_table(findings.heads, findings.rows),
        *(f"{note}." for note in findings.notes),
        "",
        "```",
        *figures.values(),
        "```",
        "",
    ]


if __name__ == "__main__":
    main()
