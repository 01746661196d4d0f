from pathlib import Path

import click

from saint.cli._opening import open_all, open_registry
from saint.cli._terminal import json_option, registry_argument, say, say_json, watching


@click.command()
@registry_argument
@click.option("--suite", required=True, help="A domain of the plan, or with --text a name for the new text.")
@click.option(
    "--text", "sources", multiple=True, help="New documents instead: a file, folder or glob; may be repeated."
)
@click.option(
    "--at-most-bpb", type=float, help="What it may lose against the bare base; by default the policy's limit."
)
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def watch(
    registry: str,
    suite: str,
    sources: tuple[str, ...],
    at_most_bpb: float | None,
    base_name: str | None,
    *,
    as_json: bool,
) -> None:
    """Look whether a suite has regressed, and if so take out the graft that is to blame.

    It is quarantined, rolled back and queued to be grown again; what was accepted on top of it is judged again. Exit
    status: 0 the suite holds, 1 it had regressed.
    """
    from saint.data import read_corpus
    from saint.growth import watch as watch_registry
    from saint.records import to_plain
    from saint.report import watched_lines

    limit = _limit(registry, suite, at_most_bpb)
    with watching() as progress:
        opened, base, plan, data = open_all(registry, base_name, progress)
        text = (
            read_corpus(suite, sources, tokenizer=data.tokenizer, root=Path()) if sources else data.of(suite, "select")
        )
        found = watch_registry(base, data, plan, opened, text, suite=suite, at_most_bpb=limit, progress=progress)
    if as_json:
        say_json({**to_plain(found), "holds": found.holds, "is_mended": found.is_mended})
    else:
        say(watched_lines(found))
    click.get_current_context().exit(0 if found.holds else 1)


def _limit(registry: str, suite: str, asked: float | None) -> float:
    """What the suite may lose: what was asked for, or the policy's limit of retention."""
    from saint.errors import ConfigError
    from saint.judging import policy_of

    if asked is not None:
        return asked
    gate = policy_of(open_registry(registry).state).gates.get("retention")
    if gate is None:
        raise ConfigError("the policy has no gate of retention to take the limit from; give --at-most-bpb")
    return float(gate.get("suites", {}).get(suite, gate["at_most_bpb"]))
