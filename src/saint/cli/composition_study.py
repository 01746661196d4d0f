"""The study of experts that are composed into one model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._materials import data_of, find_plan, must_be_ours, prepare_text
from saint.cli._sessions import Sessions
from saint.cli._terminal import json_option, quieten, say, say_json, watching
from saint.cli.studying import provenance

if TYPE_CHECKING:
    from saint.data import DataPlan
    from saint.studies import CompositionPlan, ExpertsFindings

_WHOLE, _QUICK = "composition.toml", "composition-quick.toml"


@click.command()
@click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path())
@click.option("--quick", is_flag=True, help="The package's small plan: at most 2 minutes on two cores.")
@click.option("--data", type=click.Path(), help="A folder that `saint data prepare` wrote, instead of the plan's text.")
@click.option(
    "--output-dir", type=click.Path(), help="Where everything goes; saint-study-NAME unless given. Resumes there."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
def composition(
    plan_path: str | None,
    data: str | None,
    output_dir: str | None,
    workers: int | None,
    overrides: tuple[str, ...],
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Train experts on parts of a text, compose them in all ways, and say what each is worth.

    They are measured on their own text, on the mix and on text that none has seen, beside experts with embeddings of
    their own, experts of chance parts, the average of weights, and a model on all of the text.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint import config, records
    from saint.data import DataPlan, open_splits
    from saint.report import (
        experts_figure_lines,
        experts_figures,
        experts_parts,
        experts_unmeasured,
        write_experts,
    )
    from saint.studies import CompositionPlan, check_composition, study_composition

    if quick and plan_path is not None:
        raise click.UsageError("Give either a PLAN or --quick.")
    name = plan_path or (_QUICK if quick else _WHOLE)
    path = find_plan(name)
    plan = config.load(path, CompositionPlan, overrides=overrides)
    text_plan, root = data_of(plan, path.parent)
    if data is not None:
        text_plan = DataPlan(prepared=str(Path(data).resolve()))
    plan_digest = records.digest({"plan": plan, "data": text_plan})
    folder, num_workers = Path(output_dir or f"saint-study-{plan.name}"), workers or os.cpu_count() or 1
    must_be_ours(folder, plan_digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        splits, _ = prepare_text(text_plan, root, folder, progress)
        check_composition(plan, open_splits(splits))
        found = study_composition(
            plan, splits, folder / "cells", num_workers=num_workers, progress=progress, prepare=quieten
        )
    command = ["saint study composition", "--quick" if quick else name, *([f"--data {data}"] if data else [])]
    spelled = " ".join([*command, *(f"--set {one}" for one in overrides)])
    record = _record(plan, text_plan, plan_digest, found, spelled, num_workers) | {"sessions": sessions.all()}
    write_experts(record, folder)
    if as_json:
        say_json(record)
    else:
        say(experts_parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}")
        click.echo(f"picture     {folder / 'mix.svg'}\n")
    for line in experts_figure_lines(record):
        click.echo(line, err=as_json)
    short = any(not figure.ok for figure in experts_figures(record))
    click.get_current_context().exit(1 if short else 3 if experts_unmeasured(record) else 0)


def _record(
    plan: "CompositionPlan",
    text_plan: "DataPlan",
    plan_digest: str,
    found: "ExpertsFindings",
    command: str,
    num_workers: int,
) -> dict[str, Any]:
    from saint import records
    from saint.studies import experts_code, make_composition_results

    return {
        "format": 1,
        "name": plan.name,
        "command": command,
        "plan_digest": plan_digest,
        "code": experts_code()["source"],
        **provenance(num_workers),
        "plan": records.to_plain(plan),
        "data_plan": records.to_plain(text_plan),
        "data": found.data.describe(),
        "num_known": found.num_known,
        **make_composition_results(plan, found),
    }
