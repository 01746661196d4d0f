"""Kinds of graft against each other and against controls, from one plan to one table."""

import os
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._materials import Sources, find_plan, must_be_ours, prepare
from saint.cli._sessions import Sessions
from saint.cli._terminal import json_option, quieten, say, say_json, watching

if TYPE_CHECKING:
    from saint.cli._terminal import Terminal
    from saint.comparison import ComparisonPlan, Findings

_PACKAGES = ("saint-g", "torch", "transformers", "tokenizers", "numpy")


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path())
@click.option(
    "--output-dir", type=click.Path(), help="Where everything goes; saint-compare-NAME unless given. Resumes there."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
def compare(
    plan_path: str,
    output_dir: str | None,
    workers: int | None,
    device: str,
    overrides: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Run the matrix of PLAN (a TOML file, or the name of a recipe) and say who wins.

    Arms, budgets and seeds on the same base, text, tokens and evaluation documents; every arm tunes its learning rate
    with the same number of tries, on development text only. What was stopped or killed goes on where it was.
    """
    from saint import config
    from saint.comparison import ComparisonPlan, check_device, check_materials, code_digest
    from saint.report import comparison_figures, comparison_parts, figure_lines, unmeasured_lines, write_comparison

    path = find_plan(plan_path)
    plan = config.load(path, ComparisonPlan, overrides=overrides)
    sources = Sources.of(plan, path.parent)
    folder = Path(output_dir or f"saint-compare-{plan.name}")
    num_workers = workers or os.cpu_count() or 1
    check_device(device)
    must_be_ours(folder, sources.digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        base, data, were_there = prepare(sources, folder, progress, check=partial(check_materials, plan))
        found = _compare(plan, base, data, folder, progress, num_workers, device)
    command = " ".join(["saint compare", plan_path, *(f"--set {override}" for override in overrides)])
    record = {
        "command": command,
        "plan_digest": sources.digest,
        "code_digest": code_digest(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": {
            "processor": platform.machine(),
            "num_cores": os.cpu_count() or 1,
            "num_workers": num_workers,
            "device": device,
        },
        **_results(sources, found),
        "cost": _cost(found, sessions.all(), resumed=were_there or found.num_known > 0),
    }
    write_comparison(record, folder)
    if as_json:
        say_json(record)
    else:
        say(comparison_parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}")
        click.echo(f"report      {folder / 'report.html'}\n")
    for line in figure_lines(record):
        click.echo(line, err=as_json)
    short = any(not figure.ok for figure in comparison_figures(record))
    click.get_current_context().exit(1 if short else 3 if unmeasured_lines(record) else 0)


def _compare(
    plan: "ComparisonPlan", base: str, data: Path, folder: Path, progress: "Terminal", num_workers: int, device: str
) -> "Findings":
    from saint.comparison import Materials, compare as run_matrix

    materials = Materials(base=base, data=data, cells=folder / "cells", device=device)
    arms, budgets, seeds = len(plan.arms), len(plan.budgets), len(plan.seeds)
    progress.note(f"{arms} arms, {budgets} budgets, {seeds} seeds, {plan.tries} learning rates each")
    return run_matrix(plan, materials, num_workers=num_workers, progress=progress, prepare=quieten)


def _results(sources: Sources[Any], found: "Findings") -> dict[str, Any]:
    from saint import records
    from saint.comparison import (
        budgets_won,
        gain_per_byte_ratio,
        gain_per_byte_ratio_no_less_gain,
        make_rows,
        make_views,
        strongest_rivals,
    )

    plan, data = sources.plan, found.data
    rows = make_rows(plan, found)
    return {
        "format": 2,
        "name": plan.name,
        "plan": records.to_plain(plan),
        "base_plan": records.to_plain(sources.base),
        "data_plan": records.to_plain(sources.data),
        "base": {
            "digest": found.base.digest,
            "architecture": type(found.base.model).__name__,
            "num_params": found.base.num_params,
        },
        "data": data.describe(),
        "grown_domain": data.grown_domain,
        "documents": {
            "held_out": {"nats": found.bare["held_out"], "num_bytes": data.held_out.num_bytes_each.tolist()},
            **{
                domain: {"nats": found.bare["retained"][domain], "num_bytes": corpus.num_bytes_each.tolist()}
                for domain, corpus in data.protected.items()
            },
        },
        "rows": rows,
        "views": make_views(rows, plan.rival),
        "rivals": [
            {"budget": budget, "arm": row["arm"]} for budget, row in sorted(strongest_rivals(rows, plan.rival).items())
        ],
        "figures": {
            "budgets_won": budgets_won(rows, corrected=False),
            "budgets_won_corrected": budgets_won(rows),
            "gain_per_byte_ratio": gain_per_byte_ratio(rows, plan.rival),
            "gain_per_byte_ratio_no_less_gain": gain_per_byte_ratio_no_less_gain(rows, plan.rival),
        },
    }


def _cost(found: "Findings", sessions: list[dict[str, Any]], *, resumed: bool) -> dict[str, Any]:
    """What the command took, in all sessions; unknown where one of them left nothing but its work."""
    return {
        "num_jobs": found.num_jobs,
        "num_known": found.num_known,
        "resumed": resumed,
        "sessions": sessions,
        "seconds": None if resumed and len(sessions) == 1 else sum(one["wall_s"] for one in sessions),
    }
