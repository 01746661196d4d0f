from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from saint.cli._opening import open_all, open_registry
from saint.cli._terminal import json_option, registry_argument, say, say_json, watching
from saint.errors import ConfigError, DataError
from saint.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from saint.data import Corpus, Splits


@click.command()
@registry_argument
@click.argument("metric", required=False)
@click.option(
    "--split",
    type=click.Choice(["select", "vault"]),
    default="select",
    show_default=True,
    help="Development text, or the vault once growth has opened it.",
)
@click.option(
    "--pairs",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    help="Random orders, each with its reverse, that more than 8 grafts are put in.",
)
@click.option("--seed", default=0, show_default=True, help="Draws these orders.")
@click.option("--documents", type=click.IntRange(min=0), default=3, show_default=True, help="To name for each graft.")
@click.option("--svg", "svg_path", type=click.Path(), help="Write the picture.")
@click.option("--html", "html_path", type=click.Path(), help="Write one self-contained page.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def blame(
    registry: str, metric: str | None, svg_path: str | None, html_path: str | None, *, as_json: bool, **asked: Any
) -> None:
    """Which graft changed what.

    The stack is taken apart and measured now, on development text. METRIC limits it to one suite, which is a domain of
    the plan. What was measured is kept, so asking again computes nothing.
    """
    from saint.report import blame_html, blame_parts, blame_picture, write_picture, write_whole

    opened = open_registry(registry)
    if not opened.accepted():
        if as_json:
            say_json({"registry": registry, "split": asked["split"], "grafts": [], "suites": {}})
        else:
            click.echo("no graft stands, so nothing can be blamed")
        return
    record = _measured(opened, metric, **asked)
    if svg_path:
        write_picture(Path(svg_path), blame_picture(record))
        click.echo(f"{svg_path} written", err=as_json)
    if html_path:
        write_whole(Path(html_path), blame_html(record))
        click.echo(f"{html_path} written", err=as_json)
    if as_json:
        say_json(record)
    elif not (svg_path or html_path):
        say(blame_parts(record))


def _measured(
    registry: Registry,
    metric: str | None,
    *,
    split: Literal["select", "vault"],
    pairs: int,
    seed: int,
    documents: int,
    base_name: str | None,
) -> dict[str, Any]:
    """Who changed what, as plain data."""
    if split == "vault" and not registry.state.num_vault_openings:
        raise ConfigError(
            f"the vault of {registry.folder} was never opened, and blame does not open it; leave --split out to "
            "measure on development text"
        )
    from saint.composition import restore
    from saint.evaluation import Losses, LossStore, attribute
    from saint.records import to_plain
    from saint.report import summarise

    with watching() as progress:
        _, base, plan, data = open_all(str(registry.folder), base_name, progress)
        store = LossStore(registry.work / "losses", progress=progress)
        found = attribute(
            base,
            restore(registry),
            _suites(data, split, metric),
            losses=Losses(seq_len=plan.evaluation_seq_len, store=store),
            num_pairs=pairs,
            seed=seed,
            num_shown=documents,
            tokenizer=data.tokenizer if split == "select" else None,  # of the vault only numbers come out
            progress=progress,
        )
    return {
        "registry": str(registry.folder),
        "split": split,
        "seed": seed,
        **to_plain(found),
        "grafts": summarise(registry)["stack"],
    }


def _suites(data: "Splits", split: Literal["select", "vault"], metric: str | None) -> "Mapping[str, Corpus]":
    """Suite -> text."""
    found = data.select if split == "select" else data.vault
    if metric is None:
        return found
    if metric not in found:
        raise DataError(
            f"there is no suite {metric!r} with {split} text; there are {', '.join(found)}, and what only the gates "
            "may see is not measured on"
        )
    return {metric: found[metric]}
