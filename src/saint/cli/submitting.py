from pathlib import Path

import click

from saint.cli._opening import open_all
from saint.cli._terminal import graft_of, json_option, registry_argument, say, say_json, watching


@click.command()
@registry_argument
@click.option("--adapter", "folder", required=True, type=click.Path(), help="The folder of a PEFT adapter.")
@click.option("--name", default="", help="What to call it; it is kept in the ledger.")
@click.option("--reason", default="", help="Why it is submitted; it is kept in the ledger.")
@click.option("--same-base", is_flag=True, help="It is for this base, though it names another; kept in the ledger.")
@click.option("--choose-strength", is_flag=True, help="Choose on development text how much of its change to keep.")
@click.option(
    "--at-most-change",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    help="Refuse a change of a weight whose norm is more than so many times the weight's own.",
)
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def submit(
    registry: str,
    folder: str,
    name: str,
    reason: str,
    base_name: str | None,
    at_most_change: float,
    *,
    same_base: bool,
    choose_strength: bool,
    as_json: bool,
) -> None:
    """Judge an adapter that was trained elsewhere as a candidate for REGISTRY.

    LoRA, and grafts that were trained through saint.peft. The gates of the plan decide on the present stack, and what
    they accept stands. The exit status is 0 whatever they decide.
    """
    from saint.growth import Submission, submit as submit_adapter
    from saint.report import entry_lines, summarise

    submission = Submission(
        folder=Path(folder),
        name=name,
        reason=reason,
        same_base=same_base,
        choose_strength=choose_strength,
        at_most_change=at_most_change,
    )
    with watching() as progress:
        opened, base, plan, data = open_all(registry, base_name, progress)
        entry = submit_adapter(base, data, plan, opened, submission, progress=progress)
    found = graft_of(summarise(opened)["judged"], entry.digest)
    if as_json:
        say_json({"decision": entry.decision.outcome, **found})
    else:
        click.echo(f"{entry.decision.outcome}: {folder} is graft {entry.digest[:12]}")
        say(entry_lines(found))
