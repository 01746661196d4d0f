from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_base, open_for, open_registry
from saint.cli._terminal import json_option, say, say_json, watching

if TYPE_CHECKING:
    from torch import nn

    from saint.models import FrozenBase
    from saint.progress import Progress
    from saint.tasks import Questions

_MARKER = "registry.json"


@click.command()
@click.argument("model")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK[:LABEL]=FILES",
    help="A benchmark and the files of its items, such as arc:easy=arc-easy.jsonl.",
)
@click.option(
    "--text", "texts", multiple=True, metavar="NAME=FILES", help="Text to pay for, in bits per byte; as of a domain."
)
@click.option("--against", metavar="OTHER", help="Another model, or of a registry another composition.")
@click.option("--composition", default="standing", show_default=True, help="Of a registry: what is measured.")
@click.option("--base", "base_name", help="Of a registry: where the base is now, if it has moved.")
@click.option("--limit", type=click.IntRange(min=2), help="Most questions of each task; they are drawn by --seed.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--seq-len", default=1024, show_default=True, type=click.IntRange(min=2), help="Most tokens at once.")
@click.option("--harness", "harness_tasks", multiple=True, metavar="TASK", help="Of lm-eval; needs saint-g[lm-eval].")
@click.option("--harness-tasks-in", type=click.Path(), help="A folder of task files of your own for lm-eval.")
@json_option
def measure(model: str, tasks: tuple[str, ...], texts: tuple[str, ...], *, as_json: bool, **how: Any) -> None:
    """Measure MODEL on benchmarks and texts, with chance levels and intervals.

    MODEL is a folder or hub name, or a registry, whose standing grafts are then measured on its base, against the base
    alone. No items come with SAINT-G: give the files. docs/reference/tasks.md has the tasks and their formats.
    """
    from saint.report import measured_parts

    if not (tasks or texts or how["harness_tasks"]):
        raise click.UsageError("give at least one --task, --text or --harness")
    if how["harness_tasks_in"] and not how["harness_tasks"]:
        raise click.UsageError("--harness-tasks-in is for --harness")
    if how["harness_tasks"]:
        from saint import harness  # noqa: F401 - where it is not installed, that is said before anything is loaded
    named_tasks, named_texts = _named(tasks, "--task", "TASK=FILES"), _named(texts, "--text", "NAME=FILES")
    with watching() as progress:
        asked = _questions(named_tasks, how["limit"], how["seed"])
        mine, other = _models(model, how["against"], how["composition"], how["base_name"], progress)
        record: dict[str, Any] = {
            "model": mine.described,
            "against": other.described if other else None,
            "seq_len": how["seq_len"],
            "tasks": _on_tasks(asked, mine, other, how["seq_len"], progress),
            "texts": _on_texts(named_texts, mine, other, how["seq_len"], progress),
            "harness": {one.name: _by_harness(one, how) for one in (mine, other) if one and how["harness_tasks"]},
        }
    if as_json:
        say_json(record)
    else:
        say(measured_parts(record))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A model that is to be measured."""

    name: str
    model: "nn.Module"
    tokenizer: Any
    described: dict[str, Any]


def _models(
    model: str, against: str | None, composition: str, base_name: str | None, progress: "Progress"
) -> tuple[_Asked, _Asked | None]:
    if not (Path(model) / _MARKER).is_file():
        given = click.get_current_context().get_parameter_source("composition")
        if base_name is not None or given is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--composition and --base are for a registry, and {model} is none")
        return _saved(model), None if against is None else _saved(against)
    from saint.errors import DataError

    registry = open_registry(model)
    base = open_base(registry, base_name)
    tokenizer = base.tokenizer
    if tokenizer is None:  # it was trained with the text
        tokenizer = open_for(registry, base_name, progress)[2].tokenizer
    if tokenizer is None:
        raise DataError(f"{model} has no tokenizer; save one beside its base")

    def composed(name: str) -> _Asked:
        from saint.composition import compose, restore_one

        found = registry.composition(name)
        grafts = [restore_one(registry, one.graft, scale=one.scale) for one in found.grafts]
        described = {
            **_described(name, base),
            "registry": model,
            "composition": found.digest,
            "grafts": [{"graft": one.graft, "scale": one.scale} for one in found.grafts],
        }
        return _Asked(name=name, model=compose(base, grafts), tokenizer=tokenizer, described=described)

    if against is not None and (Path(against) / "config.json").is_file():
        return composed(composition), _saved(against)
    beside = against or "base"
    return composed(composition), None if beside == composition else composed(beside)


def _saved(name: str) -> _Asked:
    from saint.errors import DataError
    from saint.models import freeze

    base = freeze(name)
    if base.tokenizer is None:
        raise DataError(f"{name} has no tokenizer beside its weights; save one there with save_pretrained")
    return _Asked(name=name, model=base.model, tokenizer=base.tokenizer, described=_described(name, base))


def _described(name: str, base: "FrozenBase") -> dict[str, Any]:
    return {"name": name, "base": base.digest, "num_params": base.num_params}


def _questions(tasks: Sequence[tuple[str, str]], limit: int | None, seed: int) -> "list[Questions]":
    from saint.tasks import read_questions

    return [read_questions(name, files, limit=limit, seed=seed) for name, files in tasks]


def _on_tasks(
    asked: "Sequence[Questions]", mine: _Asked, other: _Asked | None, seq_len: int, progress: "Progress"
) -> list[dict[str, Any]]:
    from saint.evaluation import measure_task
    from saint.records import to_plain

    beside = (other.model, other.tokenizer) if other else None
    found = []
    with progress.task("measuring", total=sum(len(one.questions) for one in asked), unit="questions") as task:
        for one in asked:
            found.append(to_plain(measure_task(one, (mine.model, mine.tokenizer), beside, seq_len=seq_len)))
            task.advance(len(one.questions))
    return found


def _on_texts(
    texts: Sequence[tuple[str, str]], mine: _Asked, other: _Asked | None, seq_len: int, progress: "Progress"
) -> list[dict[str, Any]]:
    from saint.data import read_corpus
    from saint.evaluation import Losses, measure_text
    from saint.records import to_plain

    losses = Losses(seq_len=seq_len, progress=progress)
    found = []
    for name, files in texts:
        corpora = [read_corpus(name, [files], tokenizer=one.tokenizer) for one in (mine, other) if one]
        beside = (corpora[1], other.model) if other else None
        found.append(to_plain(measure_text(corpora[0], mine.model, beside, losses=losses)))
    return found


def _by_harness(asked: _Asked, how: Mapping[str, Any]) -> dict[str, Any]:
    from saint.harness import run_harness

    return run_harness(
        asked.model,
        asked.tokenizer,
        how["harness_tasks"],
        tasks_in=Path(how["harness_tasks_in"]) if how["harness_tasks_in"] else None,
        limit=how["limit"],
        seed=how["seed"],
        seq_len=how["seq_len"],
    )


def _named(given: Sequence[str], option: str, form: str) -> list[tuple[str, str]]:
    """NAME=FILES taken apart, each name once."""
    found = []
    for one in given:
        name, sign, files = one.partition("=")
        if not (name and sign and files):
            raise click.UsageError(
                f"{option} {one}: expected {form}, such as {form.partition('=')[0].lower()}=file.jsonl"
            )
        found.append((name, files))
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(f"{option} {twice[0]} is given twice; tell them apart by a label, as in {twice[0]}:one")
    return found
