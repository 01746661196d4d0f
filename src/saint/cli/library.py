from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_for, open_registry
from saint.cli._terminal import graft_of, json_option, registry_argument, say, say_json, watching

if TYPE_CHECKING:
    from saint.library import Listed
    from saint.registry import Registry

_library = click.argument("library")
_graft = click.argument("graft")


@click.group()
def library() -> None:
    """Grafts by competence, each with a signed certificate of what it gained and where.

    LIBRARY is a folder, s3://BUCKET/PREFIX or oci://HOST/NAME:TAG. What is installed is judged again, here.
    """


@library.command(name="list")
@_library
@click.option("--competence", default="", help="Only grafts of this competence, such as code.")
@click.option("--for", "registry", type=click.Path(), help="Say of each whether it goes with this registry.")
@json_option
def list_grafts(library: str, competence: str, registry: str | None, *, as_json: bool) -> None:
    """What LIBRARY has. Exit status 1 if a certificate does not hold, 3 if one could not be read."""
    from saint.library import read_library
    from saint.remotes import open_remote
    from saint.report import library_table

    opened = open_registry(registry) if registry else None
    with watching(models=False) as progress:
        found = read_library(open_remote(library), competence=competence, progress=progress)
    rows = [_row(one, opened) for one in found.listed]
    if as_json:
        say_json({"grafts": rows, "problems": list(found.problems), "unchecked": list(found.unchecked)})
    elif rows:
        say([library_table(rows, registry=registry or "")])
    else:
        click.echo(f"{library} has no graft{f' of competence {competence}' if competence else ''} that can be listed")
    for problem in (*found.problems, *found.unchecked):
        click.echo(f"not listed: {problem}", err=True)
    if found.problems or found.unchecked:
        click.get_current_context().exit(1 if found.problems else 3)


@library.command()
@_library
@_graft
@click.option("--require-signer", "signer", default="", help="Only a certificate that this key signed.")
@json_option
def show(library: str, graft: str, signer: str, *, as_json: bool) -> None:
    """The certificate of the GRAFT in LIBRARY whose digest starts so."""
    from saint.library import find
    from saint.remotes import open_remote
    from saint.report import certificate_lines

    row = _row(find(open_remote(library), graft, signer=signer))
    if as_json:
        say_json(row)
    else:
        say(certificate_lines(row))


@library.command()
@registry_argument
@_graft
@_library
@click.option("--competence", "competences", multiple=True, required=True, help="What it is good for; give several.")
@click.option("--licence", "--license", "licence", required=True, help="Of the graft, as SPDX has it: Apache-2.0.")
@json_option
def publish(
    registry: str, graft: str, library: str, competences: tuple[str, ...], licence: str, *, as_json: bool
) -> None:
    """Put a GRAFT that stands in REGISTRY into LIBRARY, which is made if there is none.

    Its certificate says what the ledger says, and is signed by the registry's evaluator on this machine.
    """
    from saint.library import publish as publish_graft
    from saint.records import to_plain
    from saint.remotes import open_remote

    opened = open_registry(registry)
    done = publish_graft(opened, graft, open_remote(library), competences=competences, licence=licence)
    if as_json:
        say_json(to_plain(done))
        return
    said = done.certificate
    if not done.is_new:
        click.echo(f"{library} has graft {said.graft[:12]} with this certificate already ({done.digest[:12]})")
        return
    click.echo(f"{library}: graft {said.graft[:12]} for {', '.join(said.competences)}, under {said.licence}")
    click.echo(f"certificate {done.digest}, signed by {', '.join(sorted(said.keys))}")


@library.command()
@_library
@_graft
@registry_argument
@click.option("--require-signer", "signer", default="", help="Refuse what this key did not sign: its id.")
@click.option("--on-local-stack", is_flag=True, help="Judge it on what stands, though it was measured on others.")
@click.option("--again", is_flag=True, help="Judge it anew, though it was judged here before and does not stand.")
@click.option(
    "--at-most-change",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    help="Refuse a change of a weight whose norm is more than so many times the weight's own.",
)
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def install(
    library: str,
    graft: str,
    registry: str,
    signer: str,
    at_most_change: float,
    base_name: str | None,
    *,
    on_local_stack: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Fetch a GRAFT of LIBRARY and judge it in REGISTRY, by its own gates, policy and text, as `saint submit` does.

    Only what they accept stands; the certificate decides nothing. The exit status is 0 whatever they decide.
    """
    from saint.growth import install as judge_graft
    from saint.library import fetch, find, must_fit
    from saint.remotes import open_remote

    opened, remote = open_registry(registry), open_remote(library)
    listed = find(remote, graft, signer=signer)
    known = [one for one in opened.state.judged if one.digest == listed.certificate.graft]
    is_known = bool(known) and (known[-1].status == "stands" or not again)
    if not is_known:
        must_fit(listed, opened, on_local_stack=on_local_stack)
        content = fetch(remote, listed)
        with watching() as progress:
            base, plan, data = open_for(opened, base_name, progress)
            given: dict[str, Any] = {"at_most_change": at_most_change, "progress": progress}
            judge_graft(base, data, plan, opened, listed, content, **given)
    _say_installed(opened, listed, is_known=is_known, as_json=as_json)


def _say_installed(registry: "Registry", listed: "Listed", *, is_known: bool, as_json: bool) -> None:
    from saint.report import beside_table, entry_lines, summarise

    entry, row = registry.entry(listed.certificate.graft), _row(listed)
    found = graft_of(summarise(registry)["judged"], entry.digest)
    if as_json:
        say_json({"decision": entry.decision.outcome, "judged_before": is_known, "library": row, **found})
        return
    when = f"was judged here before, in entry {entry.number}, and is {entry.status}" if is_known else "is judged here"
    click.echo(f"{entry.decision.outcome}: graft {entry.digest[:12]} of {listed.address} {when}")
    say([*entry_lines(found), beside_table(row["certificate"], found)])


def _row(listed: "Listed", registry: "Registry | None" = None) -> dict[str, Any]:
    """A certificate in a library as plain data."""
    from saint.library import fit_of
    from saint.records import to_plain

    plain = {"digest": listed.digest, "signers": listed.signers, "certificate": listed.certificate}
    fit = {"fit": fit_of(listed.certificate, registry)} if registry is not None else {}
    found: dict[str, Any] = to_plain({**plain, **fit})
    return found
