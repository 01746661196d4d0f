"""Kinds of graft against each other and against controls, from one plan to one table."""

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._sessions import Sessions
from saint.cli._terminal import json_option, quieten, say, say_json, watching

if TYPE_CHECKING:
    from saint.cli._terminal import Terminal
    from saint.comparison import ComparisonPlan, Findings
    from saint.data import DataPlan
    from saint.training import BasePlan

_RECIPES = Path(__file__).parent.parent / "recipes"
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
    from saint.comparison import ComparisonPlan, check_device, code_digest
    from saint.report import comparison_figures, comparison_parts, figure_lines, unmeasured_lines, write_comparison

    path = _find(plan_path)
    plan = config.load(path, ComparisonPlan, overrides=overrides)
    sources = _Sources.of(plan, path.parent)
    folder = Path(output_dir or f"saint-compare-{plan.name}")
    num_workers = workers or os.cpu_count() or 1
    check_device(device)
    _must_be_ours(folder, sources.digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        base, data, were_there = _prepare(sources, folder, progress)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sources:
    """A plan with the plans that it names."""

    plan: "ComparisonPlan"
    data: "DataPlan"
    data_root: Path
    base: "BasePlan | None"
    """None for a base that is there already."""
    base_name: str

    @classmethod
    def of(cls, plan: "ComparisonPlan", root: Path) -> "_Sources":
        from saint import config
        from saint.data import DataPlan
        from saint.training import BasePlan

        data_path, base_path = root / plan.data_plan, root / plan.base
        is_plan = base_path.suffix == ".toml"
        return cls(
            plan=plan,
            data=plan.data or config.load(data_path, DataPlan),
            data_root=root if plan.data else data_path.parent,
            base=config.load(base_path, BasePlan) if is_plan else None,
            base_name=str(base_path) if base_path.is_dir() else plan.base,
        )

    @property
    def digest(self) -> str:
        """Of everything that the plans say."""
        from saint import records

        return records.digest({"plan": self.plan, "data": self.data, "base": self.base})


def _find(plan_path: str) -> Path:
    """The plan itself, or the recipe of that name that came with the package."""
    from saint.errors import ConfigError

    path = Path(plan_path)
    recipe = _RECIPES / path.name
    if path.exists() or not (path.parent.name in ("", "recipes") and recipe.exists()):
        if not path.exists():
            there = ", ".join(sorted(file.name for file in _RECIPES.glob("*.toml")))
            raise ConfigError(f"{plan_path} is neither a file nor a recipe of the package; the recipes are {there}")
        return path
    return recipe


def _must_be_ours(folder: Path, plan_digest: str) -> None:
    from saint.errors import ConfigError

    results = folder / "results.json"
    if not results.exists():
        return
    there = _read_table(results)
    if there.get("plan_digest") != plan_digest:
        raise ConfigError(
            f"{folder} holds the results of another plan ({there.get('name', 'unnamed')}, "
            f"{there.get('plan_digest', '')[:12]}); give a new folder with --output-dir"
        )


def _read_table(file: Path) -> dict[str, Any]:
    """What an earlier run has written down."""
    from saint.errors import ConfigError

    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}); remove it, or give a new folder with --output-dir"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no record of a run; remove it, or give a new folder with --output-dir")
    return found


def _prepare(sources: _Sources, folder: Path, progress: "Terminal") -> tuple[str, Path, bool]:
    """Text and base, each made unless an earlier run has made it.

    Returns:
        The base's name, the text's folder, and whether one of them was there already from an earlier run.
    """
    from saint.cli.base import train_base
    from saint.comparison import check_materials
    from saint.data import load_tokenizer, open_splits, read_splits, save_splits
    from saint.models import freeze
    from saint.training import untrained

    data_folder, were_there = folder / "data", False
    if sources.data.prepared:
        data_folder = sources.data_root / sources.data.prepared
    elif data_folder.exists():
        _must_be_made_from(data_folder / "manifest.json", sources.data)
        were_there = True
    else:
        progress.note("reading the text")
        tokenizer = load_tokenizer(sources.base_name) if sources.base is None else None
        splits = read_splits(sources.data, root=sources.data_root, tokenizer=tokenizer, progress=progress)
        save_splits(splits, data_folder, plan=sources.data)
    if sources.base is None:
        return sources.base_name, data_folder, were_there
    base_folder = folder / "base"
    if base_folder.exists():
        _must_be_made_from(base_folder / "training.json", sources.base)
        were_there = True
    else:
        data = open_splits(data_folder)
        bare = freeze(untrained(sources.base, data.tokenizer), tokenizer=data.tokenizer)
        check_materials(sources.plan, bare, data)  # what can be refused is refused before anything is trained
        progress.note("training the base")
        train_base(sources.base, data_folder, base_folder, progress)
    return str(base_folder), data_folder, were_there


def _must_be_made_from(file: Path, plan: Any) -> None:
    """Refuse text or a base in the output folder that was made from another plan."""
    from saint import records
    from saint.errors import ConfigError

    if records.digest(_read_table(file).get("plan")) != records.digest(plan):
        raise ConfigError(f"{file.parent} was made from another plan; give a new folder with --output-dir")


def _compare(
    plan: "ComparisonPlan", base: str, data: Path, folder: Path, progress: "Terminal", num_workers: int, device: str
) -> "Findings":
    from saint.comparison import Materials, compare as run_matrix

    materials = Materials(base=base, data=data, cells=folder / "cells", device=device)
    arms, budgets, seeds = len(plan.arms), len(plan.budgets), len(plan.seeds)
    progress.note(f"{arms} arms, {budgets} budgets, {seeds} seeds, {plan.tries} learning rates each")
    return run_matrix(plan, materials, num_workers=num_workers, progress=progress, prepare=quieten)


def _results(sources: _Sources, found: "Findings") -> dict[str, Any]:
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
