from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._terminal import say_json, share, watching

if TYPE_CHECKING:
    from saint.progress import Progress

_PIECES = ("source", "langs", "max_tokens", "vocab_size", "tokenizer", "shard_tokens", "held_out_share", "text_key")
"""Options that are fields of a text plan."""


def _langs(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(lang.strip() for lang in value.split(","))


def _held_out(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    return None if value is None else share(context, parameter, value)


_OPTIONS = (
    click.option(
        "--source",
        envvar="SAINT_TEXT_SOURCE",
        show_envvar=True,
        help="A folder with files named LANG.*, datasets:NAME[:CONFIGURATION], wikipedia (the default) or culturax.",
    ),
    click.option("--langs", callback=_langs, help="Languages in equal parts, such as en,pt (default: en,pt,es,fr,de)."),
    click.option("--max-tokens", type=int, help="Most training tokens of all languages together (default: all)."),
    click.option("--vocab-size", type=int, help="Size of the tokenizer that is trained (default: 50000)."),
    click.option("--shard-size", "shard_tokens", type=int, help="Most tokens of a shard (default: 5000000)."),
    click.option("--held-out-share", callback=_held_out, help="Share for val, and for test, of an uncut source (1%)."),
    click.option("--text-key", help="Field or column that has the text (default: text)."),
    click.option("--finalize", is_flag=True, help="Make the shards from what was read, without the source."),
    click.option("--clean-raw", is_flag=True, help="Remove what was read once the shards are finished."),
    click.option(
        "--derive-subset-from",
        "derive_from",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Take the first --max-tokens of finished text instead of reading a source.",
    ),
    click.option(
        "--subset-copy-mode",
        "copy_mode",
        type=click.Choice(["hardlink", "copy"]),
        help="How a subset gets its source's files (default: copy).",
    ),
)


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `prepare` can be told where there is no PLAN."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def prepare_base_text(folder: Path, told: Mapping[str, Any], *, as_json: bool) -> None:
    """Prepare, finalize or derive text to train a base on, and say what it is."""
    from saint.data import clean_raw

    with watching() as progress:
        manifest = _prepare(folder, told, progress)
    if told["clean_raw"]:
        clean_raw(folder)
    if as_json:
        say_json({"folder": str(folder), **{key: found for key, found in manifest.items() if key != "files"}})
        return
    click.echo(f"{folder}: vocabulary of {manifest['vocab_size']:,}")
    for name in sorted(manifest["splits"], key="train".__ne__):
        described = manifest["splits"][name]
        langs = ", ".join(f"{lang} {sums['num_tokens']:,}" for lang, sums in sorted(described["langs"].items()))
        size = f"{described['num_documents']:,} documents, {described['num_bytes']:,} bytes"
        click.echo(f"  {name}: {described['num_tokens']:,} tokens ({langs}), {size}")


def _prepare(folder: Path, told: Mapping[str, Any], progress: "Progress") -> dict[str, Any]:
    from saint.data import derive_subset, finalize_text, prepare_text

    given = {name: told[name] for name in _PIECES if told[name] is not None}
    if told["derive_from"] is None:
        if told["copy_mode"]:
            raise click.UsageError("--subset-copy-mode needs --derive-subset-from.")
        return (finalize_text if told["finalize"] else prepare_text)(given, folder, progress=progress)
    if told["finalize"] or told["clean_raw"]:
        raise click.UsageError("A subset has no raw shards; leave --finalize and --clean-raw out.")
    given.pop("source", None)  # may be set for the whole session, and is not looked at
    max_tokens = given.pop("max_tokens", 0)
    return derive_subset(
        told["derive_from"],
        folder,
        max_tokens=max_tokens,
        copy_mode=told["copy_mode"] or "copy",
        given=given,
        progress=progress,
    )
