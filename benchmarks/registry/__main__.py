"""Whether a registry survives kills, power loss, failing disks, many writers, flips and hostile files; and its speed.

    python -m benchmarks.registry [--only GROUP ...] [--work FOLDER]

prints a line for each figure that was asked for; the exit status is 1 when one is short.
"""

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

import click

GROUPS = ("kills", "power", "refusals", "writers", "flips", "hostile_files", "speed")
"""Modules of this folder; each has `figures(folder) -> list[Figure]`, and the folder to itself."""


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="This group alone; may be given several times.")
@click.option("--work", type=click.Path(path_type=Path), default=None, help="Where registries are made and left.")
def main(only: tuple[str, ...], work: Path | None) -> None:
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SAINT_HOME"] = f"{temporary}/home"  # what is remembered of these registries is nobody's
        for group in [group for group in GROUPS if group in (only or GROUPS)]:
            folder = (work or Path(temporary)) / group
            folder.mkdir(parents=True)
            started = time.perf_counter()
            figures = importlib.import_module(f"benchmarks.registry.{group}").figures(folder)
            print(f"{group}: {time.perf_counter() - started:.0f} s", flush=True)
            for figure in figures:
                print(figure, flush=True)
            found.extend(figures)
    sys.exit(0 if all(figure.ok for figure in found) else 1)


if __name__ == "__main__":
    main()
