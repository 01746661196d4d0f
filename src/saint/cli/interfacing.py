import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from saint.cli._terminal import json_option, quieten, say, say_json, visible


@click.group()
def interface() -> None:
    """Token interfaces: the tables through which tokens come into a model."""


@interface.command("list")
@json_option
def list_interfaces(*, as_json: bool) -> None:
    """The interfaces that there are, installed plug-ins included, with their options."""
    from saint import discovery
    from saint.interfaces import Interface

    quieten()
    rows = [_row(name, discovery.find("interfaces", name, Interface)) for name in discovery.names("interfaces")]
    if as_json:
        say_json(rows)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Token interfaces", title_justify="left", box=box.HORIZONTALS, show_lines=True)
    for column in ("interface", "what it is", "made from", "options", "source"):
        table.add_column(column, no_wrap=column in ("interface", "source"))
    for row in rows:
        options = ", ".join(f"{option['name']}={option['default']}" for option in row["options"])
        made_from = "texts of tokens, a font" if row["needs_tokens"] else "its options"
        table.add_row(*map(Text, (row["interface"], row["summary"], made_from, options, row["reference"])))
    say([table])


def _row(name: str, kind: Any) -> dict[str, Any]:
    """All that an interface says of itself, as plain data."""
    return {
        "interface": name,
        "summary": (inspect.getdoc(inspect.getmodule(kind)) or "").partition("\n")[0],
        "description": inspect.getdoc(kind) or "",
        "needs_tokens": kind.needs_tokens,
        "options": [{"name": field.name, "default": field.default} for field in dataclasses.fields(kind.Options)],
        "reference": kind.reference,
    }


@interface.command()
@click.argument("what", metavar="MODEL_OR_NAME")
@click.option("--vocab-size", type=click.IntRange(min=1), help="With a name: tokens (default: the tokenizer's).")
@click.option("--width", type=click.IntRange(min=1), help="With a name: the model's width.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With a name: an option of it.")
@click.option("--tokenizer", "tokenizer_name", help="With a name: folder or hub name of the tokenizer to draw.")
@click.option("--font", type=click.Path(path_type=Path), help="With a name: a .hex file of GNU Unifont to draw with.")
@json_option
def show(
    what: str,
    vocab_size: int | None,
    width: int | None,
    overrides: tuple[str, ...],
    tokenizer_name: str | None,
    font: Path | None,
    *,
    as_json: bool,
) -> None:
    """Digest, rank, injectivity and norms of a table: of a saved MODEL, or of one to be made, by NAME.

    A model whose table is not the one that its configuration says is refused, with exit status 1.
    """
    from saint import discovery

    quieten()
    if what in discovery.names("interfaces") and not Path(what).is_dir():
        found = _of_options(what, vocab_size, width, overrides, tokenizer_name, font)
    else:
        if vocab_size or width or overrides or tokenizer_name or font:
            raise click.UsageError("A saved model needs no options; leave them out, or give the name of an interface.")
        found = _of_model(what)
    if as_json:
        say_json(found)
        return
    _say(found)


def _of_options(
    name: str,
    vocab_size: int | None,
    width: int | None,
    overrides: tuple[str, ...],
    tokenizer_name: str | None,
    font: Path | None,
) -> dict[str, Any]:
    from saint import config
    from saint.data import load_tokenizer
    from saint.interfaces import FrozenTable, Sources, describe, open_interface, token_texts

    tokenizer = load_tokenizer(tokenizer_name) if tokenizer_name else None
    vocab_size = vocab_size or (len(tokenizer) if tokenizer is not None else None)
    if vocab_size is None or width is None:
        raise click.UsageError("A table to be made needs --width, and --vocab-size or --tokenizer.")
    options = config.parse("", where="--set", overrides=overrides)
    planned = open_interface(name, vocab_size=vocab_size, d_model=width, options=options)
    texts = token_texts(tokenizer, vocab_size) if tokenizer is not None else ()
    made = planned.make(Sources(tokens=texts, font=font))
    table = FrozenTable(planned)
    table.fill(made)
    return {"interface": name, "options": options, "facts": dict(made.facts), **_plain(describe(table))}


def _of_model(name: str) -> dict[str, Any]:
    from saint.interfaces import describe
    from saint.models import freeze

    model: Any = freeze(name).model
    settings, table = model.config, model.get_input_embeddings()
    found = {
        "interface": getattr(settings, "interface", "learned"),
        "options": getattr(settings, "interface_options", {}),
        "facts": getattr(settings, "interface_facts", {}),
    }
    return {**found, **_plain(describe(table))}


def _plain(report: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "is_injective": report.is_injective}


def _say(found: Mapping[str, Any]) -> None:
    chosen = ", ".join(f"{key}={value}" for key, value in found["options"].items())
    stored = f"{found['num_columns']:,} numbers for each, {found['num_bytes']:,} bytes"
    lines = {
        "interface": f"{found['interface']} ({chosen})" if chosen else found["interface"],
        "digest": found["digest"] or "none, it learns",
        "table": f"{found['vocab_size']:,} tokens, width {found['d_model']:,}; {stored}",
        "rank": f"{found['rank']:,}",
        "injective": "yes"
        if found["is_injective"]
        else f"no, {found['num_collisions']:,} tokens are as an earlier one",
        "norms": f"{found['norm_min']:.4g} to {found['norm_max']:.4g}, on average {found['norm_mean']:.4g}",
        **{key.replace("_", " "): str(value) for key, value in found["facts"].items()},
    }
    for key, value in lines.items():
        click.echo(visible(f"{key + ':':16} {value}"))
