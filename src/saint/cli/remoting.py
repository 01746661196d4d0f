from pathlib import Path
from typing import TYPE_CHECKING

import click

from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, registry_argument, say_json, watching

if TYPE_CHECKING:
    from saint.remotes import Pulled


@click.command()
@registry_argument
@click.argument("remote")
@json_option
def push(registry: str, remote: str, *, as_json: bool) -> None:
    """Bring to REMOTE what REGISTRY has and it has not.

    REMOTE is a folder, s3://BUCKET/PREFIX, oci://HOST/NAME:TAG or hf://USER/NAME.
    """
    from saint.records import to_plain
    from saint.remotes import open_remote, push as push_registry

    with watching(models=False) as progress:
        pushed = push_registry(open_registry(registry), open_remote(remote), progress=progress)
    if as_json:
        say_json(to_plain(pushed))
        return
    click.echo(
        f"{remote}: {pushed.num_entries} entries, {pushed.num_blobs} blobs ({pushed.num_bytes:,} bytes) and "
        f"{pushed.num_notes} checkpoints pushed"
    )
    if pushed.num_behind:
        click.echo(f"it has {pushed.num_behind} entries more: saint pull {remote} {registry}")


@click.command()
@click.argument("remote")
@click.argument("folder", type=click.Path())
@click.option("--largest-blob", type=click.IntRange(min=1), help="Take no blob of more bytes than this.")
@json_option
def pull(remote: str, folder: str, largest_blob: int | None, *, as_json: bool) -> None:
    """Copy the registry at REMOTE into FOLDER, or bring the one in FOLDER up to date.

    All that comes is checked, and held against what this machine verified before; where it never did, the exit status
    is 3, as for `saint verify`.
    """
    from saint.remotes import Caps, open_remote, pull as pull_registry

    caps = Caps(blob=largest_blob) if largest_blob else Caps()
    with watching(models=False) as progress:
        _, pulled = pull_registry(open_remote(remote), Path(folder), caps=caps, progress=progress)
    _say_pulled(pulled, remote, folder, as_json=as_json)


@click.command("import")
@click.argument("old", type=click.Path(exists=True, file_okay=False))
@click.argument("new", type=click.Path())
@json_option
def import_registry(old: str, new: str, *, as_json: bool) -> None:
    """Copy the registry in the folder OLD, of this or an older form, into the new folder NEW, in today's form.

    The log stays what it is, to the byte: NEW gets the name and the pages that older forms lack. All is checked as by
    `saint pull`, and where this machine never verified OLD the exit status is 3. OLD is left as it is.
    """
    from saint.errors import ConfigError
    from saint.remotes import FolderRemote, pull as pull_registry

    if Path(new).exists():
        raise ConfigError(f"{new} is there already; name a new folder, or bring it up to date with `saint pull`")
    with watching(models=False) as progress:
        _, pulled = pull_registry(FolderRemote(Path(old)), Path(new), progress=progress)
    _say_pulled(pulled, old, new, as_json=as_json)


def _say_pulled(pulled: "Pulled", source: str, folder: str, *, as_json: bool) -> None:
    """And end with 3 when something could not be checked, as `saint verify` does."""
    from saint.records import to_plain

    if as_json:
        say_json(to_plain(pulled))
    else:
        click.echo(
            f"{folder}: {pulled.num_entries} entries, {pulled.num_blobs} blobs ({pulled.num_bytes:,} bytes) and "
            f"{pulled.num_notes} checkpoints came from {source}"
        )
        if pulled.num_ahead:
            click.echo(f"it has {pulled.num_ahead} entries more: saint push {folder} {source}")
        for what in pulled.unchecked:
            click.echo(f"not checked: {what}")
        click.echo("all that could be checked is sound" if pulled.unchecked else "verified")
    click.get_current_context().exit(3 if pulled.unchecked else 0)


@click.command()
@registry_argument
@click.argument("file", type=click.Path())
@json_option
def bundle(registry: str, file: str, *, as_json: bool) -> None:
    """Write all of REGISTRY into one new FILE, to carry it where no network goes."""
    from saint.records import to_plain
    from saint.remotes import bundle as bundle_registry

    with watching(models=False) as progress:
        bundled = bundle_registry(open_registry(registry), Path(file), progress=progress)
    if as_json:
        say_json(to_plain(bundled))
    else:
        click.echo(
            f"{file}: {bundled.num_entries} entries, {bundled.num_files} files, {bundled.num_bytes:,} bytes; open it "
            "with `saint unbundle`"
        )


@click.command()
@click.argument("file", type=click.Path())
@click.argument("folder", type=click.Path())
@json_option
def unbundle(file: str, folder: str, *, as_json: bool) -> None:
    """Copy the registry in FILE into FOLDER, or bring the one in FOLDER up to date; as `saint pull` does it."""
    from saint.remotes import BundleRemote, pull as pull_registry

    with watching(models=False) as progress:
        _, pulled = pull_registry(BundleRemote(Path(file)), Path(folder), progress=progress)
    _say_pulled(pulled, file, folder, as_json=as_json)
