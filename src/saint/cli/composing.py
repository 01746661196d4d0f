from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, registry_argument, say, say_json
from saint.registry import Registry

if TYPE_CHECKING:
    from saint.records import Scaled


@click.command()
@registry_argument
@click.argument("name")
@click.option(
    "--graft",
    "grafts",
    multiple=True,
    metavar="DIGEST[:SCALE]",
    help="A graft that stands, by the start of its digest; they are applied in the order in which they are given.",
)
@click.option("--standing", is_flag=True, help="The grafts that stand now, as they stand.")
@click.option("--remove", is_flag=True, help="Take the name back; what it named stays in the ledger.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@json_option
def compose(
    registry: str, name: str, grafts: tuple[str, ...], reason: str, *, standing: bool, remove: bool, as_json: bool
) -> None:
    """Give a composition of REGISTRY's grafts a NAME.

    It is used by that name in `saint export --composition`, `saint diff` and saint.Modes. One that has the name gives
    it up. `base` is no graft at all and `standing` all that stand, always.
    """
    from saint.report import composition_parts, described

    if sum(map(bool, (grafts, standing, remove))) != 1:
        raise click.UsageError("give either --graft, once for each graft, or --standing, or --remove")
    opened = open_registry(registry)
    if remove:
        opened.remove_composition(name, reason=reason)
        if as_json:
            say_json({"removed": name})
        else:
            click.echo(f"{name} names nothing any more")
        return
    found = opened.compose(name, _standing(opened) if standing else _named(opened, grafts), reason=reason)
    record = described(found, opened.state)
    if as_json:
        say_json(record)
    else:
        say(composition_parts([record]))


def _standing(registry: Registry) -> "Sequence[Scaled]":
    from saint.registry import STANDING

    return registry.composition(STANDING).grafts


def _named(registry: Registry, grafts: Sequence[str]) -> "list[Scaled]":
    from saint.errors import ConfigError
    from saint.records import Scaled

    found = []
    for one in grafts:
        digest, _, scale = one.partition(":")
        try:
            number = float(scale) if scale or one.endswith(":") else 1.0
        except ValueError:
            raise ConfigError(
                f"--graft {one}: {scale!r} is no scale; give a number after the colon, as in 3f2a:0.5"
            ) from None
        found.append(Scaled(graft=registry.entry(digest).digest, scale=number))
    return found


@click.command()
@registry_argument
@json_option
def compositions(registry: str, *, as_json: bool) -> None:
    """The compositions that REGISTRY names, and whether each was judged as it is."""
    from saint.report import composition_parts, compositions as described_all

    found = described_all(open_registry(registry))
    if as_json:
        say_json(found)
    else:
        say(composition_parts(found))
