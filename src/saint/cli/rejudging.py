from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_all
from saint.cli._terminal import json_option, registry_argument, say, say_json, watching

if TYPE_CHECKING:
    from saint.growth import Again
    from saint.registry import Registry


@click.command()
@registry_argument
@click.argument("grafts", metavar="[GRAFT]...", nargs=-1)
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def rejudge(registry: str, grafts: tuple[str, ...], base_name: str | None, *, as_json: bool) -> None:
    """Judge again what stands unvalidated in REGISTRY: all of it, or only these GRAFTs.

    That is what was judged on top of a graft that was rolled back since. The oldest comes first; each is measured on
    all that stands, with it and without it, and takes a query to sealed text unless development text settles it. What
    is rejected is taken out. Exit status: 0 all are validated, 1 one was taken out, 3 one stays unvalidated.
    """
    judge_again(registry, base_name, grafts, as_json=as_json)


def judge_again(folder: str, base_name: str | None, grafts: Sequence[str] = (), *, as_json: bool = False) -> None:
    """Judge again, say what came of it, and end with the exit status of that."""
    from saint.growth import rejudge as rejudge_grafts
    from saint.records import Outcome
    from saint.report import rejudged_lines

    with watching() as progress:
        registry, base, plan, data = open_all(folder, base_name, progress)
        again = rejudge_grafts(base, data, plan, registry, grafts=grafts, progress=progress)
    found = _plain(registry, again)
    if as_json:
        say_json(found)
    else:
        say(rejudged_lines(found))
    outcomes = {one.outcome for one in again}
    status = 1 if Outcome.REJECT in outcomes else 3 if outcomes - {Outcome.ACCEPT} else 0
    click.get_current_context().exit(status)


def _plain(registry: "Registry", again: Sequence["Again"]) -> dict[str, Any]:
    """What became of the grafts, what is left unvalidated, and what another query takes."""
    from saint.judging import num_left, policy_of, threshold
    from saint.records import to_plain

    state = registry.state
    judging, holdout = policy_of(state).judging, state.holdout
    asked, passed = len(state.queries.get(holdout, ())), state.num_passed.get(holdout, 0)
    return {
        "rejudged": [to_plain(one) for one in again],
        "unvalidated": [entry.digest for entry in registry.accepted() if entry.unvalidated],
        "queries_left": num_left(state, judging, holdout, state.sealed_sizes),
        "next_log_threshold": threshold(judging, asked + 1, passed),
    }
