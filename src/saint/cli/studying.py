"""Studies: was what is believed before a training borne out by it?"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click

from saint.cli._materials import Sources, data_of, find_plan, must_be_ours, prepare, prepare_text
from saint.cli._sessions import Sessions
from saint.cli._terminal import json_option, quieten, say, say_json, watching

if TYPE_CHECKING:
    from saint.data import DataPlan
    from saint.studies import Findings, FullFindings, FullPlan, StudyPlan, WaysFindings, WaysPlan

_RECIPE = "study-sensitivity.toml"
_FULL, _QUICK = "full-vs-grafted.toml", "full-vs-grafted-quick.toml"
_PACKAGES = ("saint-g", "torch", "transformers", "tokenizers", "numpy")


@click.group()
def study() -> None:
    """Find out which guesses can be believed, by doing everything that they are about."""


@study.command()
@click.argument("plan_path", metavar="[PLAN]", type=click.Path(), default=_RECIPE)
@click.option("--base", help="A model's folder or hub name, or a base plan, instead of the plan's.")
@click.option("--data", type=click.Path(), help="A folder that `saint data prepare` wrote, instead of the plan's text.")
@click.option(
    "--output-dir", type=click.Path(), help="Where everything goes; saint-study-NAME unless given. Resumes there."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
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
    write_study(record, folder)
    if as_json:
        say_json(record)
    else:
        say(study_parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}")
        click.echo(f"pictures    {folder / 'ranks.svg'} and others beside it\n")
    for line in study_figure_lines(record):
        click.echo(line, err=as_json)
    short = any(not figure.ok for figure in study_figures(record))
    click.get_current_context().exit(1 if short else 3 if study_unmeasured(record) else 0)


@study.command("full-vs-grafted")
@click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path())
@click.option("--quick", is_flag=True, help="The package's small plan: at most 20 minutes on two cores.")
@click.option(
    "--source",
    "text",
    multiple=True,
    type=click.Path(),
    help="A file or folder of text instead of the plan's; may be given more than once.",
)
@click.option("--data", type=click.Path(), help="A folder that `saint data prepare` wrote, instead of the plan's text.")
@click.option(
    "--output-dir", type=click.Path(), help="Where everything goes; saint-study-NAME unless given. Resumes there."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
def full_vs_grafted(
    plan_path: str | None,
    text: tuple[str, ...],
    data: str | None,
    output_dir: str | None,
    workers: int | None,
    overrides: tuple[str, ...],
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Train small bases, grafts on them, and larger models from nothing, and say what each is worth.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    from saint import config, records
    from saint.data import open_splits
    from saint.report import full_figure_lines, full_figures, full_parts, full_unmeasured, write_full
    from saint.studies import FullPlan, check_full, study_full

    if quick and plan_path is not None:
        raise click.UsageError("Give either a PLAN or --quick.")
    if text and data is not None:
        raise click.UsageError("Give either --source or --data.")
    name = plan_path or (_QUICK if quick else _FULL)
    path = find_plan(name)
    plan = config.load(path, FullPlan, overrides=overrides)
    text_plan, root = _text_of(plan, path.parent, text, data)
    plan_digest = records.digest({"plan": plan, "data": text_plan})
    folder, num_workers = Path(output_dir or f"saint-study-{plan.name}"), workers or os.cpu_count() or 1
    must_be_ours(folder, plan_digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        splits, _ = prepare_text(text_plan, root, folder, progress)
        check_full(plan, open_splits(splits))
        found = study_full(plan, splits, folder / "cells", num_workers=num_workers, progress=progress, prepare=quieten)
    options = [f"--source {one}" for one in text] + ([f"--data {data}"] if data else [])
    command = ["saint study full-vs-grafted", "--quick" if quick else name, *options]
    spelled = " ".join([*command, *(f"--set {one}" for one in overrides)])
    record = _full_record(plan, text_plan, plan_digest, found, spelled, num_workers) | {"sessions": sessions.all()}
    write_full(record, folder)
    if as_json:
        say_json(record)
    else:
        say(full_parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}\n")
    for line in full_figure_lines(record):
        click.echo(line, err=as_json)
    short = any(not figure.ok for figure in full_figures(record))
    click.get_current_context().exit(1 if short else 3 if full_unmeasured(record) else 0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What `_ways_options` read."""

    plan_path: str | None
    text: tuple[str, ...]
    data: str | None
    output_dir: str | None
    workers: int | None
    overrides: tuple[str, ...]
    quick: bool
    as_json: bool


def _ways_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the studies of models from nothing can be told."""
    for option in (
        json_option,
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan."),
        click.option(
            "--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given."
        ),
        click.option(
            "--output-dir",
            type=click.Path(),
            help="Where everything goes; saint-study-NAME unless given. Resumes there.",
        ),
        click.option(
            "--data", type=click.Path(), help="A folder that `saint data prepare` wrote, instead of the plan's text."
        ),
        click.option(
            "--source",
            "text",
            multiple=True,
            type=click.Path(),
            help="A file or folder of text instead of the plan's; may be given more than once.",
        ),
        click.option("--quick", is_flag=True, help="The package's small plan: about two minutes on two cores."),
        click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path()),
    ):
        command = option(command)
    return command


@study.command("interface")
@_ways_options
def interface_study(**told: Any) -> None:
    """Train models that differ in how tokens come into them, and say which claims about that hold.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    _study_ways("interface", _Told(**told))


@study.command("layerwise")
@_ways_options
def layerwise_study(**told: Any) -> None:
    """Grow models layer by layer beside models trained as a whole on as many tokens, and say which claims hold.

    PLAN is a TOML file or the name of a recipe; without one it is the package's own, which needs no model and no
    corpus. What was stopped or killed goes on where it was.
    """
    _study_ways("layerwise", _Told(**told))


def _study_ways(study_name: str, told: _Told) -> None:
    """One of them; its recipe is called after it."""
    from saint import config, records
    from saint.data import open_splits
    from saint.report import ways_figure_lines, ways_figures, ways_parts, ways_unmeasured, write_ways
    from saint.studies import WaysPlan, check_ways, study_ways

    if told.quick and told.plan_path is not None:
        raise click.UsageError("Give either a PLAN or --quick.")
    if told.text and told.data is not None:
        raise click.UsageError("Give either --source or --data.")
    name = told.plan_path or f"{study_name}-study{'-quick' if told.quick else ''}.toml"
    path = find_plan(name)
    plan = config.load(path, WaysPlan, overrides=told.overrides)
    text_plan, root = _text_of(plan, path.parent, told.text, told.data)
    plan_digest = records.digest({"plan": plan, "data": text_plan})
    folder, num_workers = Path(told.output_dir or f"saint-study-{plan.name}"), told.workers or os.cpu_count() or 1
    must_be_ours(folder, plan_digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        splits, _ = prepare_text(text_plan, root, folder, progress)
        check_ways(plan, open_splits(splits))
        found = study_ways(plan, splits, folder / "cells", num_workers=num_workers, progress=progress, prepare=quieten)
    options = [f"--source {one}" for one in told.text] + ([f"--data {told.data}"] if told.data else [])
    command = [f"saint study {study_name}", "--quick" if told.quick else name, *options]
    spelled = " ".join([*command, *(f"--set {one}" for one in told.overrides)])
    record = _ways_record(plan, text_plan, plan_digest, found, spelled, num_workers) | {"sessions": sessions.all()}
    write_ways(record, folder)
    if told.as_json:
        say_json(record)
    else:
        say(ways_parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}\n")
    for line in ways_figure_lines(record):
        click.echo(line, err=told.as_json)
    short = any(not figure.ok for figure in ways_figures(record))
    click.get_current_context().exit(1 if short else 3 if ways_unmeasured(record) else 0)


def _ways_record(
    plan: "WaysPlan", text_plan: "DataPlan", plan_digest: str, found: "WaysFindings", command: str, num_workers: int
) -> dict[str, Any]:
    from saint import records
    from saint.studies import make_ways_results, ways_code

    return {
        "format": 1,
        "name": plan.name,
        "command": command,
        "plan_digest": plan_digest,
        "code": ways_code()["source"],
        **provenance(num_workers),
        "plan": records.to_plain(plan),
        "data_plan": records.to_plain(text_plan),
        "data": found.data.describe(),
        "grown_domain": found.data.grown_domain,
        "num_known": found.num_known,
        **make_ways_results(plan, found),
    }


def _text_of(
    plan: "FullPlan | WaysPlan", root: Path, text: tuple[str, ...], data: str | None
) -> "tuple[DataPlan, Path]":
    """The plan of the text, from the command line where that names some, and what its paths are relative to."""
    from saint.data import DataPlan
    from saint.errors import ConfigError

    if data is not None:
        return DataPlan(prepared=str(Path(data).resolve())), root
    found, found_root = data_of(plan, root)
    if not text:
        return found, found_root
    if len(found.domains) != 1:
        raise ConfigError(
            f"--source replaces the text of the plan's one domain, and it has {len(found.domains)}; name the sources "
            "in the plan"
        )
    [(name, domain)] = found.domains.items()
    sources = tuple(str(Path(one).absolute()) for one in text)
    return replace(found, domains={name: replace(domain, sources=sources, splits={})}), found_root


def _full_record(
    plan: "FullPlan", text_plan: "DataPlan", plan_digest: str, found: "FullFindings", command: str, num_workers: int
) -> dict[str, Any]:
    from saint import records
    from saint.studies import full_code, make_full_results

    return {
        "format": 1,
        "name": plan.name,
        "command": command,
        "plan_digest": plan_digest,
        "code": full_code()["source"],
        **provenance(num_workers),
        "plan": records.to_plain(plan),
        "data_plan": records.to_plain(text_plan),
        "data": found.data.describe(),
        "grown_domain": found.data.grown_domain,
        "num_known": found.num_known,
        **make_full_results(plan, found),
    }


def provenance(num_workers: int) -> dict[str, Any]:
    """With what and on what a study was run."""
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "machine": {
            "processor": platform.machine(),
            "num_cores": os.cpu_count() or 1,
            "num_workers": num_workers,
        },
    }


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
