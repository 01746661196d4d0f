"""Experts that were trained apart, as one model in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from saint.cli._terminal import json_option, say, say_json, watching

if TYPE_CHECKING:
    from saint.data import Corpus, Splits
    from saint.progress import Progress

_WAYS = ("posterior", "logit_mean", "probability_mean", "gate", "weight_average")
_SEQ_LEN = 256


@click.command()
@click.argument("experts", metavar="EXPERT...", nargs=-1, required=True)
@click.option(
    "--as",
    "way",
    type=click.Choice(_WAYS),
    default="posterior",
    show_default=True,
    help="How what the experts say becomes one distribution; weight_average makes one model of equal ones.",
)
@click.option("--output-dir", required=True, type=click.Path(), help="A new folder for the model and its tokenizer.")
@click.option("--name", default="", help="What the mixture is called.")
@click.option(
    "--prior",
    "prior",
    type=float,
    multiple=True,
    help="What an expert weighs before any text; once for each, in sum 1.",
)
@click.option(
    "--data",
    "data_folder",
    type=click.Path(),
    help="What `saint data prepare` wrote: experts and mixture are measured on the select split of each domain. A gate "
    "learns from its train splits, and needs it.",
)
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help="Of a gate that learns.")
@json_option
def mix(
    experts: tuple[str, ...],
    way: str,
    output_dir: str,
    name: str,
    prior: tuple[float, ...],
    data_folder: str | None,
    steps: int,
    *,
    as_json: bool,
) -> None:
    """Compose experts of one tokenizer into one model, which loads and generates as any other does.

    An EXPERT is a folder or hub name, itself a mixture perhaps, or NAME=FOLDER to call it something else than its
    folder. What experts have alike, such as one frozen interface, is stored once.
    """
    from saint.data import open_splits
    from saint.errors import ExportError

    folder = Path(output_dir)
    if folder.exists():
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    if way == "gate" and data_folder is None:
        raise click.UsageError("A gate learns from text; give --data.")
    data = None if data_folder is None else open_splits(data_folder)
    with watching() as progress:
        record = _mix_into(folder, _Wanted(_named(experts), way, name, prior, steps), data, progress)
    if as_json:
        say_json(record)
        return
    click.echo(f"{folder}: {way} of {len(record['experts'])} experts: {', '.join(record['experts'])}")
    for key, value in record.get("cost", {}).items():
        click.echo(f"{key.replace('_', ' '):<22} {value:,}")
    if data is not None:
        say([_table(record["bits_per_byte"])])


class _Wanted(NamedTuple):
    """What is to be made."""

    experts: dict[str, str]
    """Name -> folder or hub name."""
    way: str
    name: str
    prior: tuple[float, ...]
    steps: int


def _mix_into(folder: Path, wanted: _Wanted, data: "Splits | None", progress: "Progress") -> dict[str, Any]:
    """Compose, measure and save; returns what is recorded beside the model."""
    from saint import records
    from saint.composition import average, mix as mix_experts, mixture_cost
    from saint.folders import write_folder
    from saint.models import config_and_tokenizer

    names, sources = list(wanted.experts), list(wanted.experts.values())
    tokenizer = config_and_tokenizer(sources[0])[1]
    if data is not None:
        _must_be_of(data, tokenizer, names[0])
    record: dict[str, Any] = {"as": wanted.way, "name": wanted.name, "experts": wanted.experts}
    record["prior"] = list(wanted.prior) or [1 / len(names) for _ in names]
    if wanted.way == "weight_average":
        model: Any = average(sources, prior=wanted.prior or None)
    else:
        model = mix_experts(sources, wanted.way, names=names, prior=wanted.prior or None, name=wanted.name)
        if data is not None and model.gate is not None:
            record["gate"] = _train_gate(model, data, wanted.steps, progress)
        record["cost"] = records.to_plain(mixture_cost(model, seq_len=_length(model)))
    if data is not None:
        record["bits_per_byte"] = _measured(model, wanted.experts, data, progress)

    def write(partial: Path) -> None:
        model.save_pretrained(partial)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        (partial / "mixture.json").write_text(records.to_canonical(record), encoding="utf-8")

    write_folder(folder, write)
    return record


def _named(experts: Sequence[str]) -> dict[str, str]:
    """What the experts are called, and where they are."""
    found: dict[str, str] = {}
    for one in experts:
        name, equals, source = one.partition("=")
        source = source if equals else one
        name = name if equals else Path(source).resolve().name if Path(source).is_dir() else source
        if name in found:
            raise click.UsageError(f"Two experts are called {name!r}; call one something else: NAME={source}.")
        found[name] = source
    return found


def _must_be_of(data: "Splits", tokenizer: Any, expert: str) -> None:
    """Refuse text that was cut by another tokenizer than the experts'."""
    from saint import records
    from saint.errors import DataError

    theirs, ours = records.tokenizer_digest(tokenizer), data.tokenizer_digest
    if theirs is not None and theirs != ours:
        raise DataError(
            f"the text was cut with the tokenizer {(ours or 'none')[:12]}, expected {theirs[:12]}, which {expert} has; "
            "prepare it with the experts' tokenizer"
        )


def _train_gate(mixture: Any, data: "Splits", num_steps: int, progress: "Progress") -> dict[str, Any]:
    """Let a gate learn from every domain's training text; the experts stay as they are."""
    from saint import records
    from saint.training import Schedule, train_free

    schedule = Schedule(num_steps=num_steps, evaluate_every=max(1, num_steps // 4), seq_len=min(128, _length(mixture)))
    text, select = (_joined(data, split) for split in ("train", "select"))
    of = {"mixture": mixture.config.to_dict()}
    history = train_free(mixture, text, of=of, lr=1e-2, select=select, schedule=schedule, progress=progress)
    plain: dict[str, Any] = records.to_plain(history)
    return plain


def _joined(data: "Splits", split: str) -> "Corpus":
    first, *others = (corpus for name, corpus in data.corpora.items() if name.endswith(f"/{split}"))
    return first.joined(others, name=f"all/{split}")


def _length(model: Any) -> int:
    return int(min(_SEQ_LEN, model.config.max_position_embeddings or _SEQ_LEN))


def _measured(
    model: Any, experts: Mapping[str, str], data: "Splits", progress: "Progress"
) -> dict[str, dict[str, float]]:
    """Model -> domain -> bits per byte on the domain's development text."""
    from math import log

    from saint.backbones import MixtureForCausalLM
    from saint.evaluation import Losses
    from saint.models import freeze

    losses = Losses(seq_len=_SEQ_LEN, progress=progress)

    def on_each(one: Any) -> dict[str, float]:
        return {
            domain: float(losses.measure(one, text).sum()) / log(2) / text.num_bytes
            for domain, text in data.select.items()
        }

    apart = (freeze(source).model for source in experts.values())
    parts = model.experts if isinstance(model, MixtureForCausalLM) else apart
    each = {name: on_each(part) for name, part in zip(experts, parts, strict=True)}
    return {**each, "together": on_each(model)}


def _table(found: dict[str, dict[str, float]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Bits per byte on select", title_justify="left")
    for head in ("model", *found["together"]):
        table.add_column(Text(head))
    for name, row in found.items():
        table.add_row(Text(name), *(Text(f"{value:.4f}") for value in row.values()))
    return table
