from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_all, open_registry
from saint.cli._terminal import json_option, registry_argument, say, say_json, watching
from saint.registry import Registry

if TYPE_CHECKING:
    from saint.grafts import Graft


@click.command()
@registry_argument
@click.argument("a")
@click.argument("b")
@click.option("--measure", is_flag=True, help="Also compose both over one base and measure them on development text.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def diff(registry: str, a: str, b: str, base_name: str | None, *, measure: bool, as_json: bool) -> None:
    """What differs between the compositions A and B of REGISTRY.

    Each is the name of a composition, `base` for no graft, `standing` for those that stand, or the start of the digest
    of a graft for the stack that it was judged with. Without --measure nothing is loaded: all is from the ledger.
    """
    from saint.report import difference, difference_parts

    if base_name is not None and not measure:
        raise click.UsageError("--base is for --measure: without that no base is loaded")
    opened = open_registry(registry)
    record = difference(opened, a, b)
    if measure:
        record |= _measure(opened, a, b, base_name)
    if as_json:
        say_json(record)
    else:
        say(difference_parts(record))


def _measure(registry: Registry, a: str, b: str, base_name: str | None) -> dict[str, Any]:
    """Both on development text, suite by suite; what was rolled back may be looked at as well."""
    from saint.evaluation import Losses, LossStore, text_difference
    from saint.records import to_plain

    with watching() as progress:
        _, base, plan, data = open_all(str(registry.folder), base_name, progress)
        store = LossStore(registry.work / "losses", progress=progress)
        losses = Losses(seq_len=plan.evaluation_seq_len, store=store, progress=progress)
        one, other = _read(registry, a), _read(registry, b)
        found = {
            suite: text_difference(base, one, other, corpus, losses=losses, progress=progress)
            for suite, corpus in data.select.items()
        }
    documents = {suite: corpus.digest for suite, corpus in data.select.items()}
    return {"measured": to_plain(found), "split": "select", "documents": documents, "base": base.digest}


def _read(registry: Registry, name: str) -> "list[Graft]":
    from saint.composition import restore_one

    grafts = registry.composition(name).grafts
    return [restore_one(registry, one.graft, scale=one.scale) for one in grafts]
