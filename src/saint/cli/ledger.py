from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_base, open_registry
from saint.cli._terminal import graft_of, json_option, quieten, registry_argument, say, say_json, share, visible
from saint.cli.rejudging import judge_again
from saint.errors import StorageError
from saint.registry import Registry

if TYPE_CHECKING:
    from saint.judging import Replayed
    from saint.registry import Verification
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
@click.option("--event", default="", help="Only entries with this name, such as judged.")
@click.option("--graft", default="", help="Only entries about the grafts whose digest starts so.")
@json_option
def log(registry: str, event: str, graft: str, *, as_json: bool) -> None:
    """Every entry of REGISTRY's ledger, oldest first."""
    from saint.records import to_plain
    from saint.registry import find
    from saint.report import log_table

    opened = open_registry(registry)
    events = find(opened, event=event, graft=graft) if event or graft else opened.ledger.events()
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
@click.option(
    "--rejudge", "at_once", is_flag=True, help="Judge what was judged on top of it again, as `saint rejudge`."
)
@click.option("--base", "base_name", help="For --rejudge: where the base is now, if it has moved.")
def rollback(registry: str, graft: str, reason: str, base_name: str | None, *, at_once: bool) -> None:
    """Take GRAFT out of the stack, wherever it is in it; nothing is deleted.

    Grafts that were judged on top of it stay, unvalidated. While another process grows REGISTRY this waits for the end
    of its round; or stop that, and nothing of the round is lost.
    """
    from saint.registry import compositions_in

    if base_name and not at_once:
        raise click.UsageError("--base is for --rejudge; a rollback alone does not load the base")
    opened = open_registry(registry)
    waiting = f"another process grows {registry}: waiting for its round to end"
    digest = opened.rollback(graft, reason=reason, waiting=cache(lambda: click.echo(waiting, err=True)))  # said once
    click.echo(f"rolled back {digest[:12]}; {len(opened.accepted())} grafts stand")
    left = [entry.digest for entry in opened.accepted() if entry.unvalidated]
    for unvalidated in left:
        click.echo(f"  {unvalidated[:12]} was judged on what is gone, and is now unvalidated")
    for name in (one.name for one in compositions_in(opened.state) if digest in one.withdrawn):
        click.echo(f"  composition {name} holds it and cannot be used; name what is left of it anew: saint compose")
    if left and at_once:
        judge_again(registry, base_name)
    elif left:
        click.echo(f"next: saint rejudge {registry}")


@click.command()
@registry_argument
@click.option("--recompose", is_flag=True, help="Also load the base, compose the stack and compare its logits.")
@click.option("--decisions", is_flag=True, help="Also work every decision out again, from what was measured.")
@click.option("--signatures", is_flag=True, help="Also check who signed each entry, and that they may.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@click.option(
    "--read-data",
    is_flag=True,
    expose_value=False,
    help="Read every blob: what is done anyway, unless there is a --sample.",
)
@click.option(
    "--sample",
    metavar="PERCENT",
    default="100%",
    callback=share,
    help="Read only such a share of the blobs, as in 5%, drawn anew.",
)
@click.option("--expect", "expected", default="", metavar="SIZE:ROOT", help="A checkpoint from elsewhere.")
@click.option("--anew", is_flag=True, help="Forget what this machine remembers of it, and take it as it is.")
@json_option
def verify(
    registry: str,
    base_name: str | None,
    sample: float,
    expected: str,
    *,
    recompose: bool,
    decisions: bool,
    signatures: bool,
    anew: bool,
    as_json: bool,
) -> None:
    """Check that REGISTRY is what was written, that it adds up, and that nothing of it is missing."""

    from saint.registry import remember, verify as verify_registry

    opened = open_registry(registry)
    found = verify_registry(opened, sample=sample, expected=expected, anew=anew)
    adds_up = not found.problems
    checked = _Checked(
        found=found,
        replayed=_replay(opened) if decisions and adds_up else None,
        signed=_check_signatures(opened) if signatures and adds_up else None,
        recomposed=_recompose(opened, base_name) if recompose and adds_up else None,
    )
    if not checked.failed:
        try:
            remember(opened, found, anew=anew)
        except StorageError as error:
            checked = checked.without_memory(error)
    if as_json:
        say_json(checked.to_plain())
    else:
        checked.say()
    click.get_current_context().exit(1 if checked.failed else 3 if checked.unknown else 0)


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """What a verification came to."""

    found: "Verification"
    replayed: "Replayed | None"
    signed: "Signatures | None"
    recomposed: str | None

    @property
    def failed(self) -> bool:
        parts = (self.found, self.replayed, self.signed)
        return any(part.problems for part in parts if part is not None) or self.recomposed == "different"

    @property
    def unknown(self) -> bool:
        left = (
            self.found.unchecked,
            self.replayed and self.replayed.num_without_policy,
            self.signed and self.signed.unchecked,
            self.recomposed == "unknown",
        )
        return any(map(bool, left))

    def without_memory(self, error: StorageError) -> "_Checked":
        left = f"in later verifications that nothing of this is missing: {error}"
        return replace(self, found=replace(self.found, unchecked=(*self.found.unchecked, left)))

    def to_plain(self) -> dict[str, Any]:
        from saint.records import to_plain

        parts = {"decisions": to_plain(self.replayed), "signatures": to_plain(self.signed)}
        return {**to_plain(self.found), **parts, "recomposed": self.recomposed}

    def say(self) -> None:
        from saint.report import replayed_lines, signature_lines

        found = self.found
        click.echo(f"{found.num_entries} entries, {found.num_blobs} blobs, {found.num_bytes:,} bytes read")
        if found.num_unread:
            click.echo(f"{found.num_unread} of the blobs are there, but were not read: a sample was asked for")
        click.echo(f"head {found.head}")
        click.echo(f"checkpoint {found.num_entries}:{found.root} of {found.origin}")
        told = {"problem:": found.problems, "could not check": found.unchecked, "note:": found.notes}
        for word, what in ((word, one) for word, said in told.items() for one in said):
            click.echo(f"{word} {visible(what)}")
        if self.replayed is not None:
            say(replayed_lines(self.replayed))
        if self.signed is not None:
            say(signature_lines(self.signed))
        if self.recomposed is not None:
            click.echo(_RECOMPOSED[self.recomposed])
        if not self.failed and not self.unknown:
            click.echo("verified as far as it was read" if found.num_unread else "verified")


def _replay(registry: Registry) -> "Replayed":
    from saint.judging import replay_decisions

    return replay_decisions(registry)


def _check_signatures(registry: Registry) -> "Signatures":
    from saint.signing import check_signatures

    return check_signatures(registry, now=datetime.now(UTC).isoformat(timespec="seconds"))


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

    if not (recorded := registry.state.logits):
        return "unknown"
    quieten()
    model = compose(open_base(registry, base_name), restore(registry))
    return "equal" if logits_digest(model) == recorded else "different"


@click.command()
@registry_argument
@click.option("--html", "html_path", type=click.Path(), help="Write one self-contained page.")
@click.option("--follow", is_flag=True, help="With --html: write it anew as growth goes on, until that is finished.")
@json_option
def report(registry: str, html_path: str | None, *, follow: bool, as_json: bool) -> None:
    """What growth came to: decisions, result, controls, cost, and what did not work."""
    from saint.cli._following import follow as follow_growth
    from saint.report import report_parts, summarise, to_html

    if follow:
        if html_path is None or as_json:
            raise click.UsageError("--follow is for --html FILE, and not for --json.")
        follow_growth(open_registry(registry), Path(html_path), told=click.echo)
        return
    summary = summarise(open_registry(registry))
    if html_path:
        Path(html_path).write_text(to_html(summary), encoding="utf-8")
        click.echo(f"{html_path} written", err=as_json)
    if as_json:
        say_json(summary)
    elif not html_path:
        say(report_parts(summary))
