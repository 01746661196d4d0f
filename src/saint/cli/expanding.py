from pathlib import Path
from typing import Any

import click

from saint.cli._terminal import json_option, say_json, watching


@click.command()
@click.argument("model")
@click.option("--operator", required=True, help="Such as g_stack; docs/reference/operators.md has them.")
@click.option("--times", type=click.IntRange(min=2), help="Short for --set times=; of g_stack.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the operator.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--out", "output_dir", required=True, type=click.Path(), help="A new folder for the larger model.")
@json_option
def expand(
    model: str,
    operator: str,
    times: int | None,
    settings: tuple[str, ...],
    seed: int,
    output_dir: str,
    *,
    as_json: bool,
) -> None:
    """Make MODEL, a folder or hub name of a Llama-like model, larger all at once, as a control for growth.

    What is written is an ordinary model of the same class. It is told whether it answers as the smaller one does.
    """
    from saint.operators import build_operator

    folder = Path(output_dir)
    given = [*settings, *([f"times={times}"] if times else [])]
    built = build_operator(operator, _parsed(given))
    with watching():
        record = _expanded(model, operator, built, seed, folder)
    if as_json:
        say_json(record)
        return
    click.echo(f"{folder}: {record['num_params']:,} parameters, {record['num_added']:,} of them new")
    kept = {"no": "does not keep the function", "to rounding": "keeps the function to rounding"}
    promise = kept.get(record["preserves"], "keeps the function to the bit")
    sizes = f"{record['difference']:.3g}, where the largest logit is {record['largest_logit']:.3g}"
    click.echo(f"{operator} {promise}; the largest difference of a logit is {sizes}")


def _parsed(settings: list[str]) -> dict[str, Any]:
    """KEY=VALUE as TOML has it."""
    from saint import config
    from saint.errors import ConfigError

    found: dict[str, Any] = {}
    for setting in settings:
        key, sign, _ = setting.partition("=")
        if not sign or key in found:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, each key once")
        found |= config.parse(setting, where=f"--set {setting}")
    return found


def _expanded(model: str, name: str, operator: Any, seed: int, folder: Path) -> dict[str, Any]:
    from saint import operators, records
    from saint.errors import ExportError
    from saint.folders import write_folder
    from saint.models import freeze

    if folder.exists():
        raise ExportError(f"{folder} exists already; give the path of a new folder with --out")
    base = freeze(model)
    found = operators.expand(base.model, operator, seed=seed)
    if found.masks is not None:
        found.masks.fold()
    record = {
        "base": base.digest,
        "operator": name,
        "settings": records.to_plain(operator),
        "reference": operator.reference,
        "seed": seed,
        "preserves": found.preserves,
        "difference": found.difference,
        "largest_logit": found.largest_logit,
        "num_params_before": found.num_params_before,
        "num_params": found.num_params,
        "num_added": found.num_added,
        "new_blocks": list(found.new_blocks),
    }

    def write(partial: Path) -> None:
        found.model.save_pretrained(partial)
        if base.tokenizer is not None:
            base.tokenizer.save_pretrained(partial)
        (partial / "expansion.json").write_text(records.to_canonical(record), encoding="utf-8")

    write_folder(folder, write)
    return record
