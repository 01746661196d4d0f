from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, registry_argument, say, say_json


@click.command()
@registry_argument
@click.argument("graft")
@click.option("--by", required=True, help="Who approves; a name that people know.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@click.option("--write", "into", type=click.Path(), help="Only sign it, into a file that holds for a while.")
@click.option("--from", "signed", type=click.Path(), help="The file in which it was signed elsewhere, by --write.")
@click.option(
    "--valid-days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="How long what is signed may be used.",
)
def approve(
    registry: str, graft: str, by: str, reason: str, into: str | None, signed: str | None, valid_days: int
) -> None:
    """Approve of a GRAFT that passed its gates and waits for people to agree.

    It comes to stand when as many have approved as its risk class asks for. Not while another process grows REGISTRY:
    stop that first, approve, and let it go on.

    What is signed holds for this judgement of this graft in this registry, and for no other.
    """
    from saint.signing import read_envelope, sign_approval, sign_entries

    opened = open_registry(registry)
    until = (datetime.now(UTC) + timedelta(days=valid_days)).isoformat(timespec="seconds")
    if into:
        entry = opened.entry(graft)
        envelope = sign_approval(opened, entry.number, by=by, reason=reason, valid_until=until)
        Path(into).write_bytes(envelope.to_bytes())
        click.echo(f"{into} written: {by} approves of {entry.digest[:12]} until {until}; put it in with --from")
        return
    given = read_envelope(Path(signed).read_bytes()) if signed else None
    sign_entries(opened, given=given, valid_until=until)
    entry = opened.approve(graft, by=by, reason=reason)
    said = opened.state.approved[entry.number]
    click.echo(
        f"{by} approves of {entry.digest[:12]}: {len(said)} of {entry.decision.approvals}, it {_now(entry.status)}"
    )
    others = [number for number, one in opened.state.rounds.items() if not one["closed"] and number != entry.round]
    if others and entry.status == "stands":
        click.echo(f"round {others[0] + 1} was open on the stack before; the next `saint grow` begins it anew")


def _now(status: str) -> str:
    return "stands" if status == "stands" else "still waits"


@click.command()
@registry_argument
@click.option("--set", "path", type=click.Path(), help="A TOML file with [gates.<name>] and [judging], to judge by.")
@click.option("--reason", help="Why it is changed; it is kept in the ledger.")
@json_option
def policy(registry: str, path: str | None, reason: str | None, *, as_json: bool) -> None:
    """By what REGISTRY's decisions are made, or, with --set, a change of it."""
    from saint import config
    from saint.errors import ConfigError
    from saint.judging import Policy, policy_of, set_policy
    from saint.records import to_plain
    from saint.report import policy_lines

    opened = open_registry(registry)
    if path:
        if not reason:
            raise ConfigError("a change of policy needs a reason, which the ledger keeps; give --reason TEXT")
        set_policy(opened, config.load(Path(path), Policy), reason=reason)
    now = policy_of(opened.state)
    record = {**to_plain(now), "digest": now.digest, "entry": opened.state.policy["number"]}
    if as_json:
        say_json(record)
    else:
        say(policy_lines(record))


@click.command()
@registry_argument
@click.option("--retire", "reason", help="Never ask this hold-out again, and why.")
@json_option
def holdout(registry: str, reason: str | None, *, as_json: bool) -> None:
    """What REGISTRY's sealed text was asked, what another question takes, or, with --retire, its end."""
    from saint.errors import UnknownNameError
    from saint.report import holdout_lines, summarise

    opened = open_registry(registry)
    if reason:
        state = opened.state
        known = [digest for digest in (state.holdout, *state.queries) if digest]
        open_ones = [digest for digest in known if digest not in state.retired]
        if not open_ones:
            raise UnknownNameError("this registry has no hold-out that is not retired yet; start one with new text")
        opened.write("holdout_retired", {"holdout": open_ones[-1], "reason": reason})
    found = summarise(opened)["holdouts"]
    if as_json:
        say_json(found)
    else:
        say(holdout_lines(found))
