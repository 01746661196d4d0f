import click

from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, registry_argument, say_json

_SECONDS_PER_DAY = 86400


@click.command()
@registry_argument
@click.option("--from", "copy", required=True, help="Another copy of it: a folder, a bundle, or any remote.")
@json_option
def repair(registry: str, copy: str, *, as_json: bool) -> None:
    """Take what rotted or is missing in REGISTRY from another copy, if its digest is the one that is on record.

    Nothing of the copy is believed. What was damaged is put into REGISTRY's trash folder.
    """
    from saint.records import to_plain
    from saint.registry import repair as repair_registry
    from saint.remotes import open_remote

    found = repair_registry(open_registry(registry), open_remote(copy))
    if as_json:
        say_json(to_plain(found))
    else:
        click.echo(f"{len(found.entries)} entries and {len(found.blobs)} blobs were taken from {copy}")
        for problem in found.problems:
            click.echo(f"problem: {problem}")
    click.get_current_context().exit(1 if found.problems else 0)


@click.command()
@registry_argument
@click.option("--days", default=14.0, show_default=True, type=click.FloatRange(min=0), help="What is younger stays.")
@click.option("--dry-run", is_flag=True, help="Only say what would be put away.")
@json_option
def gc(registry: str, days: float, *, dry_run: bool, as_json: bool) -> None:
    """Put blobs that no entry of REGISTRY names into its trash folder; an entry says which."""
    from saint.records import to_plain
    from saint.registry import collect

    found = collect(open_registry(registry), grace_seconds=days * _SECONDS_PER_DAY, dry_run=dry_run)
    if as_json:
        say_json(to_plain(found))
        return
    what = "would be put away" if dry_run else "were put into the trash folder"
    click.echo(
        f"{len(found.blobs)} blobs, {found.num_bytes:,} bytes, {what}; {found.num_drafts} drafts of processes that died"
    )
    for digest in found.blobs:
        click.echo(f"  {digest}")
    for digest in found.restored:
        click.echo(f"  {digest} was in the trash though an entry names it, and is in its place again")


@click.command()
@registry_argument
@json_option
def doctor(registry: str, *, as_json: bool) -> None:
    """Try out whether the disk and the machine can hold REGISTRY; says what could not be tried (exit status 3)."""
    from saint.records import to_plain
    from saint.registry import examine

    found = examine(open_registry(registry))
    if as_json:
        say_json([to_plain(one) for one in found])
    else:
        for one in found:
            click.echo(f"{one.what:<14}{one.result:<9}{one.said}")
    results = {one.result for one in found}
    click.get_current_context().exit(1 if "problem" in results else 3 if "unknown" in results else 0)
