import dataclasses
import inspect
from typing import Any

import click

from saint.cli._terminal import json_option, quieten, say, say_json


@click.command()
@json_option
def kinds(*, as_json: bool) -> None:
    """The kinds of graft that there are, installed plug-ins included."""
    from saint import discovery
    from saint.grafts import Kind

    quieten()
    rows = [_row(name, discovery.find("grafts", name, Kind)) for name in discovery.names("grafts")]
    if as_json:
        say_json(rows)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Kinds of graft", title_justify="left", box=box.HORIZONTALS, show_lines=True)
    for column in ("kind", "at", "what it is", "parameters per site", "effective, if fewer", "options", "source"):
        table.add_column(column, no_wrap=column in ("kind", "at", "source"))
    table.add_column("merges into")
    for row in rows:
        shown = (
            row["kind"],
            row["attaches_to"],
            row["summary"],
            row["parameters"],
            row["effective_parameters"] if row["effective_parameters"] != row["parameters"] else "",
            ", ".join(option["name"] for option in row["options"]),
            row["reference"],
            row["merges_into"],
        )
        table.add_row(*map(Text, shown))  # as they are: brackets are no markup
    say([table, "Each kind has a page in docs/reference/kinds/; --json prints all of it."])


def _row(name: str, kind: Any) -> dict[str, Any]:
    """All that a kind says of itself, as plain data."""
    description = inspect.getdoc(kind) or ""
    return {
        "kind": name,
        "attaches_to": kind.attaches_to,
        "summary": (inspect.getdoc(inspect.getmodule(kind)) or "").partition("\n")[0],
        "description": description,
        "parameters": kind.formula,
        "effective_parameters": kind.effective_formula or kind.formula,
        "foldable": kind.can_fold,
        "merges_into": _merges_into(kind),
        "options": [_option(field) for field in dataclasses.fields(kind.Options)],
        "examples": [dict(example) for example in kind.examples],
        "reference": kind.reference,
    }


def _merges_into(kind: Any) -> str:
    """What the saved model that a kind disappears into has changed: a weight, its architecture, or nothing."""
    if kind.can_fold:
        return "weight"
    return "architecture" if kind.can_grow else "nothing"


def _option(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    required = field.default is dataclasses.MISSING
    return {"name": field.name, "required": required, "default": None if required else field.default}
