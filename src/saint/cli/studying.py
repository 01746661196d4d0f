"""Studies: was what is believed before a training borne out by it?"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._materials import Sources, find_plan, must_be_ours, prepare
from saint.cli._study_flow import (
    Page,
    Studied,
    Told,
    data_option,
    provenance,
    run_study,
    running_options,
    study_options,
    tell_and_exit,
)
from saint.cli._terminal import quieten, watching

if TYPE_CHECKING:
    from saint.studies import Findings, StudyPlan

_RECIPE = "study-sensitivity.toml"


@click.group()
def study() -> None:
    """Find out which guesses can be believed, by doing everything that they are about."""


@study.command()
@click.argument("plan_path", metavar="[PLAN]", type=click.Path(), default=_RECIPE)
@click.option("--base", help="A model's folder or hub name, or a base plan, instead of the plan's.")
@data_option
@running_options
def sensitivity(
    plan_path: str,
    base: str | None,
    data: str | None,
    output_dir: str | None,
    workers: int | None,
    overrides: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Train every candidate of PLAN to the end, and say how well sensitivity maps and short runs foretold the gains.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint import config
    from saint.report import study_figure_lines, study_figures, study_parts, study_unmeasured, write_study
    from saint.studies import Materials, StudyPlan, check_materials, study as run_study

    path = find_plan(plan_path)
    plan = _with(config.load(path, StudyPlan, overrides=overrides), base, data)
    sources = Sources.of(plan, path.parent)
    folder, num_workers = Path(output_dir or f"saint-study-{plan.name}"), workers or os.cpu_count() or 1
    must_be_ours(folder, sources.digest)
    with watching() as progress:
        base_name, text, _ = prepare(sources, folder, progress, check=partial(check_materials, plan))
        materials = Materials(base=base_name, data=text, cells=folder / "cells")
        found = run_study(plan, materials, num_workers=num_workers, progress=progress, prepare=quieten)
    options = [f"--{name} {value}" for name, value in (("base", base), ("data", data)) if value]
    command = " ".join(["saint study sensitivity", plan_path, *options, *(f"--set {one}" for one in overrides)])
    record = _record(sources, found, command, num_workers)
    page = Page(
        parts=study_parts,
        write=write_study,
        figures=study_figures,
        figure_lines=study_figure_lines,
        unmeasured=study_unmeasured,
        pictures="pictures    {folder}/ranks.svg and others beside it",
    )
    tell_and_exit(record, page, folder, as_json=as_json)


@study.command("full-vs-grafted")
@study_options(quick="at most 20 minutes")
def full_vs_grafted(**told: Any) -> None:
    """Train small bases, grafts on them, and larger models from nothing, and say what each is worth.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint.report import full_figure_lines, full_figures, full_parts, full_unmeasured, write_full
    from saint.studies import FullPlan, check_full, full_code, make_full_results, study_full

    studied = Studied(
        name="full-vs-grafted",
        recipe="full-vs-grafted",
        plan=FullPlan,
        check=check_full,
        run=study_full,
        results=make_full_results,
        code=full_code,
        page=Page(
            parts=full_parts,
            write=write_full,
            figures=full_figures,
            figure_lines=full_figure_lines,
            unmeasured=full_unmeasured,
        ),
    )
    run_study(studied, Told(**told))


@study.command("interface")
@study_options(quick="about two minutes")
def interface_study(**told: Any) -> None:
    """Train models that differ in how tokens come into them, and say which claims about that hold.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    run_study(_of_ways("interface"), Told(**told))


@study.command("layerwise")
@study_options(quick="about two minutes")
def layerwise_study(**told: Any) -> None:
    """Grow models layer by layer beside models trained as a whole on as many tokens, and say which claims hold.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    run_study(_of_ways("layerwise"), Told(**told))


def _of_ways(name: str) -> Studied:
    """A study of models from nothing; its recipe is called after it."""
    from saint.report import claim_figures, claim_lines, claims_unmeasured, ways_parts, write_ways
    from saint.studies import WaysPlan, check_ways, make_ways_results, study_ways, ways_code

    return Studied(
        name=name,
        recipe=f"{name}-study",
        plan=WaysPlan,
        check=check_ways,
        run=study_ways,
        results=make_ways_results,
        code=ways_code,
        page=Page(
            parts=ways_parts,
            write=write_ways,
            figures=claim_figures,
            figure_lines=claim_lines,
            unmeasured=claims_unmeasured,
        ),
    )


@study.command("composition")
@study_options(quick="at most 2 minutes", sources=False)
def composition_study(**told: Any) -> None:
    """Train experts on parts of a text, compose them in all ways, and say what each is worth.

    They are measured on their own text, on the mix and on text that none has seen, beside experts with embeddings of
    their own, experts of chance parts, the average of weights, and a model on all of the text.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint.report import experts_figure_lines, experts_figures, experts_parts, experts_unmeasured, write_experts
    from saint.studies import (
        CompositionPlan,
        check_composition,
        experts_code,
        make_composition_results,
        study_composition,
    )

    studied = Studied(
        name="composition",
        recipe="composition",
        plan=CompositionPlan,
        check=check_composition,
        run=study_composition,
        results=make_composition_results,
        code=experts_code,
        page=Page(
            parts=experts_parts,
            write=write_experts,
            figures=experts_figures,
            figure_lines=experts_figure_lines,
            unmeasured=experts_unmeasured,
            pictures="picture     {folder}/mix.svg",
        ),
        grows=False,
    )
    run_study(studied, Told(**told))


@study.command("docking")
@study_options(quick="at most two minutes", sources=False)
def docking_study(**told: Any) -> None:
    """Move modules from the backbone that they learnt on to others, and say whether they are of any use there.

    The others were trained apart on the same frozen token interface, or share their first blocks with the first, or
    have another interface, as a control. Each is held against modules of its own, against the same numbers in another
    order, and against learning for as few steps as a moved module may.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint.report import claim_figures, claim_lines, claims_unmeasured, docking_parts, write_docking
    from saint.studies import DockingPlan, check_docking, docking_code, make_docking_results, study_docking

    studied = Studied(
        name="docking",
        recipe="docking-study",
        plan=DockingPlan,
        check=check_docking,
        run=study_docking,
        results=make_docking_results,
        code=docking_code,
        page=Page(
            parts=docking_parts,
            write=write_docking,
            figures=claim_figures,
            figure_lines=claim_lines,
            unmeasured=claims_unmeasured,
            pictures="picture     {folder}/gains.svg",
        ),
    )
    run_study(studied, Told(**told))


def _with(plan: "StudyPlan", base: str | None, data: str | None) -> "StudyPlan":
    """The plan on another base or text; their paths are as the shell sees them, not as the plan does."""
    from saint.data import DataPlan

    if base is not None:
        plan = replace(plan, base=str(Path(base).resolve()) if Path(base).exists() else base)
    if data is not None:
        plan = replace(plan, data=DataPlan(prepared=str(Path(data).resolve())), data_plan="")
    return plan


def _record(sources: Sources[Any], found: "Findings", command: str, num_workers: int) -> dict[str, Any]:
    from saint import records
    from saint.studies import code, make_results

    plan = sources.plan
    return {
        "format": 1,
        "name": plan.name,
        "command": command,
        "plan_digest": sources.digest,
        "code": code()["source"],
        **provenance(num_workers),
        "plan": records.to_plain(plan),
        "base_plan": records.to_plain(sources.base),
        "data_plan": records.to_plain(sources.data),
        "base": {
            "digest": found.base.digest,
            "architecture": type(found.base.model).__name__,
            "num_params": found.base.num_params,
        },
        "data": found.data.describe(),
        "grown_domain": found.data.grown_domain,
        "num_known": found.num_known,
        **make_results(plan, found),
    }
