"""The reference pages, made from the code: `python tests/docs/reference_pages.py` writes them anew."""

import ast
import dataclasses
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from saint import discovery
from saint.candidates import Proposal
from saint.cli.main import main
from saint.data import DataPlan, Domain
from saint.gates import Gate
from saint.grafts import Kind
from saint.growth import Controls, Plan, Sensitivity
from saint.records import Budget
from saint.training import BasePlan, Schedule

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> Iterator[tuple[str, click.Command]]:
    """`saint ...` -> each command, groups' members included."""
    for name, command in sorted(main.commands.items()):
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in sorted(command.commands.items()))
        else:
            yield name, command


def help_of(*arguments: str) -> str:
    return CliRunner().invoke(main, [*arguments, "--help"], prog_name="saint").output.strip()


def commands_page() -> str:
    parts = ["# Commands", "", "What `--help` says, in full.", "", "```text", help_of(), "```", ""]
    for name, _ in commands():
        parts += [f"## saint {name}", "", "```text", help_of(*name.split()), "```", ""]
    return "\n".join(parts)


def field_docs(cls: type) -> dict[str, str]:
    """The docstrings below a dataclass's fields."""
    [definition] = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def default_of(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return "see below" if dataclasses.is_dataclass(made) else f"`{made!r}`"
    return "required"


def type_of(hint: Any) -> str:
    text = hint.__name__ if inspect.isclass(hint) and not typing.get_args(hint) else str(hint)
    for long in ("collections.abc.", "typing.", "saint.records._nouns.", "saint.growth._plan.", "saint.training._fit."):
        text = text.replace(long, "")
    for long in ("saint.data._prepared.", "saint.candidates._propose.", "saint.data._splits."):
        text = text.replace(long, "")
    return text.replace("|", "\\|")


def table(cls: Any) -> list[str]:
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    rows = [
        f"| `{f.name}` | `{type_of(hints[f.name])}` | {default_of(f)} | {docs.get(f.name, '')} |"
        for f in dataclasses.fields(cls)
    ]
    return ["| key | type | default | |", "|---|---|---|---|", *rows, ""]


def summary(cls: type) -> str:
    return inspect.getdoc(cls) or ""


def plans_page() -> str:
    parts = ["# Plans", "", "A plan is a TOML file. Unknown keys are refused; `--set key.inner=value` changes one.", ""]
    sections: list[tuple[str, Any]] = [
        ("A growth plan", Plan),
        ("`[data]`, and a data plan", DataPlan),
        ("`[data.domains.<name>]`", Domain),
        ("`[budget]`", Budget),
        ("`[[proposals]]`", Proposal),
        ("`[schedule]`", Schedule),
        ("`[sensitivity]`", Sensitivity),
        ("`[controls]`", Controls),
        ("A base plan", BasePlan),
    ]
    for title, cls in sections:
        parts += [f"## {title}", "", summary(cls), "", *table(cls)]
    for name in discovery.names("gates"):
        gate = discovery.find("gates", name, Gate)
        parts += [f"## `[gates.{name}]`", "", summary(gate), ""]
        parts += table(gate) if dataclasses.fields(gate) else ["It has no settings.", ""]  # type: ignore[arg-type]
    for name in discovery.names("grafts"):
        kind = discovery.find("grafts", name, Kind)
        parts += [f"## Options of kind `{name}`", "", f"{summary(kind)}", ""]
        parts += [f"Parameters per site: `{kind.formula}`. Source: {kind.reference}.", "", *table(kind.Options)]
    return "\n".join(parts)


PAGES = {"reference/commands.md": commands_page, "reference/plans.md": plans_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
