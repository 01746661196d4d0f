from pathlib import Path

import click

from saint.cli._terminal import json_option, say_json, watching


@click.group()
def data() -> None:
    """Text: read, de-duplicate, split and tokenise."""


@data.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path())
@click.option("--output-dir", required=True, type=click.Path(), help="A new folder for the tokenised splits.")
@click.option("--tokenizer", "tokenizer_name", help="Folder or hub name of the base whose tokenizer is to be used.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
def prepare(
    plan_path: str, output_dir: str, tokenizer_name: str | None, overrides: tuple[str, ...], *, as_json: bool
) -> None:
    """Prepare the text that PLAN (a TOML file with domains) describes."""
    from saint import config
    from saint.data import DataPlan, describe_suites, load_tokenizer, read_splits, save_splits
    from saint.errors import DataError

    path = Path(plan_path)
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
