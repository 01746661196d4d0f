"""What the commands that run studies have in common: their options, and the way from a plan to a page of results."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click

from saint.cli._materials import data_of, find_plan, must_be_ours, prepare_text
from saint.cli._sessions import Sessions
from saint.cli._terminal import json_option, quieten, say, say_json, watching

if TYPE_CHECKING:
    from rich.console import RenderableType

    from saint.data import DataPlan
    from saint.report import Figure

_PACKAGES = ("saint-g", "torch", "transformers", "tokenizers", "numpy")

Command = Callable[..., None]
Record = dict[str, Any]

plan_argument = click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path())
data_option = click.option(
    "--data", type=click.Path(), help="A folder that `saint data prepare` wrote, instead of the plan's text."
)
source_option = click.option(
    "--source",
    "text",
    multiple=True,
    type=click.Path(),
    help="A file or folder of text instead of the plan's; may be given more than once.",
)
_RUNNING = (
    click.option(
        "--output-dir", type=click.Path(), help="Where everything goes; saint-study-NAME unless given. Resumes there."
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Processes of one thread each; one per core unless given."
    ),
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan."),
    json_option,
)


def running_options(command: Command) -> Command:
    """Where a study goes, how fast, what is changed of its plan, and how it is told."""
    return _with(command, _RUNNING)


def study_options(*, quick: str, sources: bool = True) -> Callable[[Command], Command]:
    """What a study can be told that needs no base: `Told` holds it.

    Args:
        quick: How long the small plan takes.
        sources: Whether other text may be given as it is; its plan has one domain then.
    """
    small = click.option("--quick", is_flag=True, help=f"The package's small plan: {quick} on two cores.")
    first = (plan_argument, small, *([source_option] if sources else []), data_option)
    return lambda command: _with(command, (*first, *_RUNNING))


def _with(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):  # as decorators that stand above each other
        command = option(command)
    return command


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What `study_options` read."""

    plan_path: str | None
    data: str | None
    output_dir: str | None
    workers: int | None
    overrides: tuple[str, ...]
    quick: bool
    as_json: bool
    text: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """How a study's record is told."""

    parts: Callable[[Record], "list[RenderableType]"]
    write: Callable[[Record, Path], None]
    figures: Callable[[Record], "list[Figure]"]
    figure_lines: Callable[[Record], list[str]]
    unmeasured: Callable[[Record], list[str]]
    pictures: str = ""
    """A line about them, with `{folder}`."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Studied:
    """A study that needs text and a plan, and trains whatever else it is about."""

    name: str
    """Of the command."""
    recipe: str
    """The package's own plan, without `.toml`; the small one has `-quick` behind it."""
    plan: type[Any]
    check: Callable[[Any, Any], object]
    """Refuses a plan and text that do not fit together."""
    run: Callable[..., Any]
    results: Callable[[Any, Any], Mapping[str, Any]]
    code: Callable[[], Mapping[str, str]]
    page: Page
    grows: bool = True
    """Whether the text has the one domain that all learn from."""


def run_study(studied: Studied, told: Told) -> None:
    """From a plan to a page of results, and an exit status that says whether its figures were reached."""
    from saint import config, records
    from saint.data import open_splits

    if told.quick and told.plan_path is not None:
        raise click.UsageError("Give either a PLAN or --quick.")
    if told.text and told.data is not None:
        raise click.UsageError("Give either --source or --data.")
    name = told.plan_path or f"{studied.recipe}{'-quick' if told.quick else ''}.toml"
    path = find_plan(name)
    plan = config.load(path, studied.plan, overrides=told.overrides)
    text_plan, root = _text_of(plan, path.parent, told)
    plan_digest = records.digest({"plan": plan, "data": text_plan})
    folder, num_workers = Path(told.output_dir or f"saint-study-{plan.name}"), told.workers or os.cpu_count() or 1
    must_be_ours(folder, plan_digest)
    with Sessions(folder, num_workers=num_workers) as sessions, watching() as progress:
        splits, _ = prepare_text(text_plan, root, folder, progress)
        studied.check(plan, open_splits(splits))
        found = studied.run(plan, splits, folder / "cells", num_workers=num_workers, progress=progress, prepare=quieten)
    options = [f"--source {one}" for one in told.text] + ([f"--data {told.data}"] if told.data else [])
    command = [f"saint study {studied.name}", "--quick" if told.quick else name, *options]
    record = {
        "format": 1,
        "name": plan.name,
        "command": " ".join([*command, *(f"--set {one}" for one in told.overrides)]),
        "plan_digest": plan_digest,
        "code": studied.code()["source"],
        **provenance(num_workers),
        "plan": records.to_plain(plan),
        "data_plan": records.to_plain(text_plan),
        "data": found.data.describe(),
        **({"grown_domain": found.data.grown_domain} if studied.grows else {}),
        "num_known": found.num_known,
        **studied.results(plan, found),
        "sessions": sessions.all(),
    }
    tell_and_exit(record, studied.page, folder, as_json=told.as_json)


def tell_and_exit(record: Record, page: Page, folder: Path, *, as_json: bool) -> None:
    """Write a record's page, tell it, and exit with 1 where a figure falls short, 3 where one was not measured."""
    page.write(record, folder)
    if as_json:
        say_json(record)
    else:
        say(page.parts(record))
        click.echo(f"\nresults     {folder / 'results.json'}, {folder / 'table.md'}")
        click.echo(f"{page.pictures.format(folder=folder)}\n" if page.pictures else "")
    for line in page.figure_lines(record):
        click.echo(line, err=as_json)
    short = any(not figure.ok for figure in page.figures(record))
    click.get_current_context().exit(1 if short else 3 if page.unmeasured(record) else 0)


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


def _text_of(plan: Any, root: Path, told: Told) -> "tuple[DataPlan, Path]":
    """The plan of the text, from the command line where that names some, and what its paths are relative to."""
    from saint.data import DataPlan
    from saint.errors import ConfigError

    if told.data is not None:
        return DataPlan(prepared=str(Path(told.data).resolve())), root
    found, found_root = data_of(plan, root)
    if not told.text:
        return found, found_root
    if len(found.domains) != 1:
        raise ConfigError(
            f"--source replaces the text of the plan's one domain, and it has {len(found.domains)}; name the sources "
            "in the plan"
        )
    [(name, domain)] = found.domains.items()
    sources = tuple(str(Path(one).absolute()) for one in told.text)
    return replace(found, domains={name: replace(domain, sources=sources, splits={})}), found_root
