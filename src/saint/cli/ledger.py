from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from saint.cli._opening import open_base, open_registry
from saint.cli._terminal import graft_of, json_option, quieten, registry_argument, say, say_json
from saint.registry import Registry

if TYPE_CHECKING:
    from saint.judging import Replayed
    from saint.signing import Signatures


@click.command()
@registry_argument
@json_option
def status(registry: str, *, as_json: bool) -> None:
    """What stands in REGISTRY, and where growth has come to."""
    from saint.report import status_lines, summarise

    summary = summarise(open_registry(registry))
    if as_json:
        say_json(summary)
    else:
        say(status_lines(summary))


@click.command()
@registry_argument
@json_option
def log(registry: str, *, as_json: bool) -> None:
    """Every entry of REGISTRY's ledger, oldest first."""
    from saint.records import to_plain
    from saint.report import log_table

    events = open_registry(registry).ledger.events()
    if as_json:
        say_json([to_plain(event) for event in events])
    else:
        say([log_table(events)])


@click.command()
@registry_argument
@click.argument("graft")
@json_option
def show(registry: str, graft: str, *, as_json: bool) -> None:
    """All about one GRAFT, named by the start of its digest."""
    from saint.report import entry_lines, summarise

    opened = open_registry(registry)
    found = graft_of(summarise(opened)["judged"], opened.entry(graft).digest)
    if as_json:
        say_json(found)
    else:
        say(entry_lines(found))


@click.command()
@registry_argument
@click.argument("graft")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
def rollback(registry: str, graft: str, reason: str) -> None:
    """Take GRAFT out of the stack, wherever it is in it; nothing is deleted."""
    opened = open_registry(registry)
    digest = opened.rollback(graft, reason=reason)
    standing = opened.accepted()
    click.echo(f"rolled back {digest[:12]}; {len(standing)} grafts stand")
    for entry in standing:
        if entry.unvalidated:
            click.echo(f"  {entry.digest[:12]} was judged on top of it and is now unvalidated")


@click.command()
@registry_argument
@click.option("--recompose", is_flag=True, help="Also load the base, compose the stack and compare its logits.")
@click.option("--decisions", is_flag=True, help="Also work every decision out again, from what was measured.")
@click.option("--signatures", is_flag=True, help="Also check who signed each entry, and that they may.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def verify(
    registry: str, base_name: str | None, *, recompose: bool, decisions: bool, signatures: bool, as_json: bool
) -> None:
    """Check that every entry and blob of REGISTRY is what was written, and that they add up."""
    from saint.records import to_plain
    from saint.registry import verify as verify_registry
    from saint.report import replayed_lines, signature_lines

    opened = open_registry(registry)
    found = verify_registry(opened)
    replayed = _replay(opened) if decisions and not found.problems else None
    recomposed = _recompose(opened, base_name) if recompose and not found.problems else None
    signed = _check_signatures(opened) if signatures and not found.problems else None
    problems = [*found.problems, *(replayed.problems if replayed else ()), *(signed.problems if signed else ())]
    failed = bool(problems or recomposed == "different")
    unknown = recomposed == "unknown" or bool(
        (replayed and replayed.num_without_policy) or (signed and signed.unchecked)
    )
    if as_json:
        say_json(
            {
                **to_plain(found),
                "decisions": to_plain(replayed),
                "signatures": to_plain(signed),
                "recomposed": recomposed,
            }
        )
    else:
        click.echo(f"{found.num_entries} entries, {found.num_blobs} blobs, {found.num_bytes:,} bytes read")
        click.echo(f"head {found.head}")
        for problem in found.problems:
            click.echo(f"problem: {problem}")
        if replayed is not None:
            say(replayed_lines(replayed))
        if signed is not None:
            say(signature_lines(signed))
        if recomposed is not None:
            click.echo(_RECOMPOSED[recomposed])
        if not failed and not unknown:
            click.echo("verified")
    click.get_current_context().exit(1 if failed else 3 if unknown else 0)


def _check_signatures(registry: Registry) -> "Signatures":
    from saint.signing import check_signatures

    return check_signatures(registry, now=datetime.now(UTC).isoformat(timespec="seconds"))


def _replay(registry: Registry) -> "Replayed":
    from saint.judging import replay_decisions

    return replay_decisions(registry)


_RECOMPOSED = {
    "equal": "recomposed: the stack gives the recorded logits, to the bit",
    "different": (
        "problem: the recomposed stack does not give the recorded logits (another machine, number of threads or "
        "version of PyTorch rounds differently)"
    ),
    "unknown": "could not check the logits: the standing stack was not judged as it is now",
}


def _recompose(registry: Registry, base_name: str | None) -> str:
    from saint.composition import compose, logits_digest, restore

    standing = registry.accepted()
    if not standing or standing[-1].unvalidated:  # the logits on record are of another stack
        return "unknown"
    quieten()
    model = compose(open_base(registry, base_name), restore(registry))
    return "equal" if logits_digest(model) == standing[-1].evidence.logits else "different"


@click.command()
@registry_argument
@click.option("--html", "html_path", type=click.Path(), help="Write one self-contained page.")
@json_option
def report(registry: str, html_path: str | None, *, as_json: bool) -> None:
    """What growth came to: decisions, result, controls, cost, and what did not work."""
    from saint.report import report_parts, summarise, to_html

    summary = summarise(open_registry(registry))
    if html_path:
        Path(html_path).write_text(to_html(summary), encoding="utf-8")
        click.echo(f"{html_path} written", err=as_json)
    if as_json:
        say_json(summary)
    elif not html_path:
        say(report_parts(summary))
