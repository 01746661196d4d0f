from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from saint.cli._terminal import json_option, say_json, watching
from saint.cli.preparing import prepare_base_text, text_options

_MADE = ("bpe", "unicode")


@click.group()
def data() -> None:
    """Text: read, de-duplicate, split and tokenise."""


@data.command()
@click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path())
@click.option("--output-dir", required=True, type=click.Path(), help="The folder for the text.")
@click.option(
    "--tokenizer",
    "tokenizer_name",
    help="Which one is made, bpe (the default) or unicode; with PLAN also folder or hub name of the base that has one.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With PLAN: change a setting of it.")
@text_options
@json_option
def prepare(
    plan_path: str | None,
    output_dir: str,
    tokenizer_name: str | None,
    overrides: tuple[str, ...],
    *,
    as_json: bool,
    **told: Any,
) -> None:
    """Prepare text: to train a base on, or, with PLAN, to grow one on.

    PLAN is a TOML file with domains; their splits go to a new folder, in one go.

    Without PLAN the text is of several languages. It is read once, tokenised by a tokenizer that is trained on it, and
    mixed evenly into token shards. The same command goes on where an earlier run was stopped.
    """
    if plan_path is None:
        if overrides:
            raise click.UsageError("--set needs a PLAN.")
        if tokenizer_name not in (None, *_MADE):
            raise click.UsageError(f"Without a PLAN --tokenizer is {' or '.join(_MADE)}.")
        prepare_base_text(Path(output_dir), {**told, "tokenizer": tokenizer_name}, as_json=as_json)
        return
    typed = click.get_current_context().get_parameter_source
    if any(typed(name) is ParameterSource.COMMANDLINE for name in told):
        raise click.UsageError("With a PLAN there are --output-dir, --tokenizer, --set and --json only.")
    _prepare_splits(plan_path, output_dir, tokenizer_name, overrides, as_json=as_json)


def _prepare_splits(
    plan_path: str, output_dir: str, tokenizer_name: str | None, overrides: tuple[str, ...], *, as_json: bool
) -> None:
    from saint import config
    from saint.data import DataPlan, describe_suites, load_tokenizer, read_splits, save_splits
    from saint.errors import DataError

    path = Path(plan_path)
    if tokenizer_name in _MADE:  # which is then a setting of the plan, and recorded with it
        overrides, tokenizer_name = (*overrides, f"tokenizer={tokenizer_name}"), None
    plan = config.load(path, DataPlan, overrides=overrides)
    if Path(output_dir).exists():  # found out before the work rather than after it
        raise DataError(f"{output_dir} exists already; give the path of a new folder")
    with watching() as progress:
        tokenizer = load_tokenizer(tokenizer_name) if tokenizer_name else None
        splits = read_splits(plan, root=path.parent, tokenizer=tokenizer, progress=progress)
        save_splits(splits, Path(output_dir), plan=plan)
    suites = describe_suites(splits.suites)
    if as_json:
        found = {"splits": splits.describe(), "suites": suites}
        say_json({"folder": output_dir, "tokenizer": splits.tokenizer_digest, **found})
        return
    click.echo(f"{output_dir}: vocabulary of {len(splits.tokenizer):,}")
    for name, described in splits.describe().items():
        size = f"{described['num_documents']:,} documents, {described['num_tokens']:,} tokens"
        click.echo(f"  {name}: {size}, {described['num_bytes']:,} bytes")
    for name, part in suites.items():
        click.echo(f"  {name}: {part['num_items']:,} items of sort {part['sort']}")
    left_out = f"{splits.num_exact_duplicates} copies, {splits.num_near_duplicates} near copies"
    click.echo(f"  left out: {left_out}, {splits.num_contaminated} training documents that have seen what is judged on")
