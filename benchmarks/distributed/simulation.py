"""Utilisation of 1 to 1,000 simulated workers, with what the coordinator costs measured here.

    python -m benchmarks.distributed.simulation [--out FOLDER] [--size full|smoke]

prints the tables and a line for each figure that was asked for; the exit status is 1 when one is short. `--out` also
writes `simulation.md` and its picture there.
"""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console

from saint import config
from saint.cli.benching import base_or_stand_in, counting_text
from saint.cli.planning import sweep_record, trial_lengths
from saint.growth import Plan, Sweep, UnitCosts, measure_units, sweep
from saint.report import Figure, sweep_parts, write_sweep

Size = Literal["full", "smoke"]

_RECIPE = Path(__file__).parents[2] / "recipes" / "code-to-prose.toml"
_SELECT_TOKENS, _JUDGE_TOKENS = 12_288, 18_432  # of the reference's round
_NUM_WORKERS, _TRIAL_S, _TARGET = 256, 60.0, 0.9
_FULL = (1, 4, 16, 64, 128, 256, 512, 1000)


def figures(folder: Path | None, *, size: Size = "full") -> list[Figure]:
    """One for each way of checking what workers return; `folder` gets the table and the picture."""
    command = shlex.join(["python", "-m", "benchmarks.distributed.simulation", *sys.argv[1:]])
    return figures_of(simulated(_measured(size), size=size, command=command), folder, size=size)


def simulated(units: UnitCosts, *, size: Size, command: str = "") -> dict[str, Any]:
    """The whole record, as `saint simulate-cluster --json` prints it."""
    asked = Sweep(trial_s=trial_lengths(_TRIAL_S))
    numbers = _FULL if size == "full" else (1, _NUM_WORKERS)
    if size == "smoke":
        asked = replace(asked, per_worker=2, candidates=(36,))
    return sweep_record(sweep(units, numbers, asked), asked, units, seed=0, command=command)


def figures_of(record: dict[str, Any], folder: Path | None, *, size: Size) -> list[Figure]:
    """What was asked for, and shown; every figure is of big rounds, their ends included."""
    if folder is not None:
        write_sweep(record, folder)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for part in sweep_parts(record):
        console.print(part)
    row = next(row for row in record["rows"] if row["workers"] == _NUM_WORKERS)
    prefix = "" if size == "full" else "smoke_"
    return [
        Figure(
            name=f"{prefix}simulation_utilisation_{_NUM_WORKERS}_{name}",
            value=row[way]["utilisation"],
            target=_TARGET,
            sense="at_least",
        )
        for way, name in (("spot", "spot_checked"), ("all", "measured_in_full"))
    ]


def _measured(size: Size) -> UnitCosts:
    plan = config.load(_RECIPE, Plan)
    if size == "smoke":
        plan = replace(plan, schedule=replace(plan.schedule, num_steps=2, batch_size=1, seq_len=32, evaluate_every=1))
    base = base_or_stand_in(None)
    text = counting_text(base, 64 * plan.schedule.tokens_per_step)
    return measure_units(base, text, plan, select_tokens=_SELECT_TOKENS, judge_tokens=_JUDGE_TOKENS)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), help="Where the table and the picture are written.")
@click.option("--size", type=click.Choice(["full", "smoke"]), default="full", help="smoke: does it run at all?")
def main(out: Path | None, size: Any) -> None:
    found = figures(out, size=size)
    print(*found, sep="\n")
    sys.exit(0 if all(figure.ok for figure in found) else 1)


if __name__ == "__main__":
    main()
