from typing import Any

import click

from saint.cli._terminal import json_option, quieten, say, say_json


@click.command()
@json_option
def kinds(*, as_json: bool) -> None:
    """The kinds of graft that there are, installed plug-ins included."""
    import dataclasses

    from rich.table import Table

    from saint import discovery
    from saint.grafts import Kind

    quieten()
    rows: list[dict[str, Any]] = []
    for name in discovery.names("grafts"):
        kind = discovery.find("grafts", name, Kind)
        rows.append(
            {
                "kind": name,
                "attaches_to": kind.attaches_to,
                "parameters": kind.formula,
                "foldable": _folds_into(kind),
                "options": [field.name for field in dataclasses.fields(kind.Options)],
                "reference": kind.reference,
                "summary": (kind.__doc__ or "").strip().splitlines()[0],
            }
        )
    if as_json:
        say_json(rows)
        return
    table = Table(title="Kinds of graft", title_justify="left")
    for column in ("kind", "attaches to", "parameters per site", "foldable", "options", "reference", "what it is"):
        table.add_column(column)
    for row in rows:
        options = ", ".join(row["options"])
        shown = (
            row["kind"],
            row["attaches_to"],
            row["parameters"],
            row["foldable"],
            options,
            row["reference"],
            row["summary"],
        )
        table.add_row(*shown)
    say([table])


def _folds_into(kind: Any) -> str:
    """What the saved model that a kind disappears into has changed: a weight, its architecture, or nothing."""
    if kind.can_fold:
        return "weight"
    return "architecture" if kind.can_grow else "no"
