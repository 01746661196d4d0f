from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._terminal import json_option, say_json, watching

if TYPE_CHECKING:
    from saint.progress import Progress
    from saint.training import BasePlan


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path())
@click.option(
    "--data", "data_folder", required=True, type=click.Path(), help="A folder that `saint data prepare` wrote."
)
@click.option("--output-dir", required=True, type=click.Path(), help="A new folder for the base.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
@json_option
def train(plan_path: str, data_folder: str, output_dir: str, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Train a base from nothing, as PLAN (a TOML file) says; goes on where an earlier run stopped."""
    from saint import config
    from saint.training import BasePlan

    plan = config.load(Path(plan_path), BasePlan, overrides=overrides)
    with watching() as progress:
        record = train_base(plan, Path(data_folder), Path(output_dir), progress)
    if as_json:
        say_json(record)
        return
    click.echo(f"{output_dir}: {record['num_params']:,} parameters, {record['history']['train_tokens']:,} tokens")
    click.echo(f"bits per byte on {plan.domain}/select: {record['select_bpb']:.4f}")


def train_base(plan: "BasePlan", data_folder: Path, folder: Path, progress: "Progress") -> dict[str, Any]:
    """Train and save a base; returns what is recorded beside it."""
    from saint import records
    from saint.data import open_splits
    from saint.errors import ExportError
    from saint.folders import write_folder
    from saint.training import pretrain

    if folder.exists():
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    data = open_splits(data_folder)
    text, select = data.of(plan.domain, "train"), data.of(plan.domain, "select")
    checkpoint = folder.parent / f".{folder.name}.checkpoint.safetensors"
    model, history = pretrain(plan, data.tokenizer, text, select=select, checkpoint=checkpoint, progress=progress)
    record = {
        "plan": records.to_plain(plan),
        "plan_digest": records.digest(plan),
        "text": text.digest,
        "tokenizer": data.tokenizer_digest,
        "num_params": sum(parameter.numel() for parameter in model.parameters()),
        "history": records.to_plain(history),
        "select_bpb": history.best_bpb,
    }

    def write(partial: Path) -> None:
        model.save_pretrained(partial)
        data.tokenizer.save_pretrained(partial)
        (partial / "training.json").write_text(records.to_canonical(record), encoding="utf-8")

    write_folder(folder, write)
    checkpoint.unlink(missing_ok=True)
    return record
