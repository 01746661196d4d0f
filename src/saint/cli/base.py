from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click
from typing_extensions import override

from saint.cli._terminal import json_option, say_json, watching

if TYPE_CHECKING:
    from saint.progress import Progress
    from saint.training import BasePlan


@final
class _ManyOverrides(click.Command):
    """Lets one `--override` take several `KEY=VALUE`, as the published command lines have it."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_one_each(args)))


def _one_each(args: list[str]) -> Iterator[str]:
    inside = False
    for place, argument in enumerate(args):
        inside = (inside or args[place - 1 : place] == ["--override"]) and "=" in argument and argument[:1] != "-"
        if inside and args[place - 1] != "--override":
            yield "--override"
        yield argument


@click.command(cls=_ManyOverrides)
@click.argument("plan_path", metavar="[PLAN]", required=False, type=click.Path())
@click.option("--data", "--data-dir", "data_folder", type=click.Path(), help="What `saint data prepare` wrote.")
@click.option("--output-dir", type=click.Path(), help="With PLAN: a new folder for the base.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With PLAN: change a setting of it.")
@click.option("--config", "config_file", type=click.Path(), metavar="FILE", help="Instead of PLAN: a YAML file.")
@click.option("--override", "settings", multiple=True, metavar="KEY=VALUE...", help="With --config: change settings.")
@click.option("--device", default="cpu", help="With --config: where to train, such as cuda.")
@json_option
def train(
    plan_path: str | None,
    data_folder: str | None,
    output_dir: str | None,
    overrides: tuple[str, ...],
    config_file: str | None,
    settings: tuple[str, ...],
    device: str,
    *,
    as_json: bool,
) -> None:
    """Train a base from nothing; goes on where an earlier run stopped.

    PLAN is a TOML file for a base that is grown afterwards: it learns from a domain of prepared splits.

    With --config, a flat YAML file of settings under their published names, it learns from token shards, and leaves
    checkpoints and metrics in the file's save_dir.
    """
    if (plan_path is None) == (config_file is None):
        raise click.UsageError("Give either a PLAN or --config FILE.")
    if config_file is not None:
        if output_dir or overrides:
            raise click.UsageError("With --config, settings such as save_dir are changed by --override.")
        more = (f"data_dir={data_folder}",) if data_folder else ()
        _train_run(Path(config_file), (*settings, *more), device, as_json=as_json)
        return
    if settings or device != "cpu":
        raise click.UsageError("--override and --device need --config.")
    if data_folder is None or output_dir is None:
        raise click.UsageError("A PLAN needs --data and --output-dir.")
    _train_plan(Path(plan_path or ""), Path(data_folder), Path(output_dir), overrides, as_json=as_json)


def _train_run(file: Path, settings: tuple[str, ...], device: str, *, as_json: bool) -> None:
    from saint.training import load_run, train_run

    plan = load_run(file, overrides=settings)
    with watching() as progress:
        last = train_run(plan, device=device, progress=progress)
    if not last:
        return  # the first of several processes speaks for all
    if as_json:
        say_json({"save_dir": plan.save_dir, **last})
        return
    click.echo(f"{plan.save_dir}: {last['step']:,} steps, {last['tokens']:,} tokens")
    if "val_loss" in last:
        click.echo(f"held out: {last['val_loss']:.4f} nats per token, {last['val_bpb']:.4f} bits per byte")


def _train_plan(
    plan_path: Path, data_folder: Path, output_dir: Path, overrides: tuple[str, ...], *, as_json: bool
) -> None:
    from saint import config
    from saint.training import BasePlan

    plan = config.load(plan_path, BasePlan, overrides=overrides)
    with watching() as progress:
        record = train_base(plan, data_folder, output_dir, progress, root=plan_path.parent)
    if as_json:
        say_json(record)
        return
    click.echo(f"{output_dir}: {record['num_params']:,} parameters, {record['history']['train_tokens']:,} tokens")
    click.echo(f"bits per byte on {plan.domain}/select: {record['select_bpb']:.4f}")


def train_base(
    plan: "BasePlan", data_folder: Path, folder: Path, progress: "Progress", *, root: Path = Path()
) -> dict[str, Any]:
    """Train and save a base; returns what is recorded beside it.

    Args:
        root: What the plan's font is relative to.
    """
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
    model, history = pretrain(
        plan, data.tokenizer, text, select=select, checkpoint=checkpoint, progress=progress, root=root
    )
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
