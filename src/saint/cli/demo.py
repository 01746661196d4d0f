"""The main job on the text that every machine with Python has, through the same calls that a user makes."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._terminal import say, watching

if TYPE_CHECKING:
    from torch import Tensor

    from saint.cli._terminal import Terminal
    from saint.grafts import Graft
    from saint.models import FrozenBase
    from saint.records import Candidate
    from saint.registry import Registry
    from saint.report import Figure

_RECIPES = Path(__file__).parent.parent / "recipes"
_RECIPE_OF = {
    "data.toml": "python-library-to-judge-on.toml",
    "base.toml": "small-llama-on-code.toml",
    "plan.toml": "code-to-prose.toml",
}


@click.command()
@click.argument("folder", type=click.Path(), default="saint-demo")
def demo(folder: str) -> None:
    """Train a small base on code, grow it towards prose, and leave everything in FOLDER to look at.

    Takes a few minutes on two cores and needs neither a network nor a corpus. A demo that was stopped goes on where it
    was; a finished one is left alone and a new folder is made beside it.
    """
    from saint.report import Figure, report_parts, summarise, to_html

    started, root = time.monotonic(), _unfinished(Path(folder))
    with watching() as progress:
        registry = _grow(root, progress)
        progress.note("4/4 exporting and checking")
        figures = list(_figures(registry, root, progress))
    figures.append(Figure(name="seconds", value=time.monotonic() - started, target=300, sense="at_most"))
    summary = summarise(registry)
    (root / "report.html").write_text(to_html(summary), encoding="utf-8")  # last: it marks the demo as finished
    say(report_parts(summary))
    click.echo(f"\nreport      {root / 'report.html'}")
    click.echo(f"plans       {root / 'data.toml'}, {root / 'base.toml'}, {root / 'plan.toml'}")
    click.echo(f"look        saint log {registry.folder}; saint blame {registry.folder}")
    if summary["stack"]:
        graft = summary["stack"][-1]["digest"][:12]
        click.echo(f'take back   saint rollback {registry.folder} {graft} --reason "trying it"')
    click.echo()
    for figure in figures:
        click.echo(str(figure))


def _unfinished(folder: Path) -> Path:
    """`folder`, or the first numbered one beside it whose demo is not finished."""
    number, chosen = 1, folder
    while (chosen / "report.html").exists():
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    return chosen


def _grow(root: Path, progress: "Terminal") -> "Registry":
    """Prepare text, train the base, start the registry and grow it, each unless an earlier run has done so."""
    from saint import config
    from saint.cli._opening import open_all
    from saint.cli.base import train_base
    from saint.data import DataPlan, read_splits, save_splits
    from saint.growth import Plan, grow, start
    from saint.models import freeze
    from saint.registry import Registry
    from saint.training import BasePlan

    root.mkdir(parents=True, exist_ok=True)
    for name, recipe in _RECIPE_OF.items():
        if not (root / name).exists():
            shutil.copyfile(_RECIPES / recipe, root / name)
    if not (root / "data").exists():
        progress.note("1/4 reading the Python library as code and as prose")
        data_plan = config.load(root / "data.toml", DataPlan)
        save_splits(read_splits(data_plan, root=root, progress=progress), root / "data", plan=data_plan)
    if not (root / "base").exists():
        progress.note("2/4 training a small Llama on code")
        train_base(config.load(root / "base.toml", BasePlan), root / "data", root / "base", progress)
    if Registry.can_begin(root / "registry"):
        plan_path = root / "plan.toml"
        text = plan_path.read_text(encoding="utf-8")
        start(root / "registry", freeze(root / "base"), config.load(plan_path, Plan), root=root, plan_text=text)
    progress.note("3/4 growing it towards prose")
    registry, base, plan, data = open_all(str(root / "registry"), None, progress)
    grow(base, data, plan, registry, progress=progress)
    return registry


def _figures(registry: "Registry", root: Path, progress: "Terminal") -> Iterator["Figure"]:
    """What the demo is asked to reach, from what was just measured."""
    from saint.report import Figure, summarise

    summary = summarise(registry)
    judged, standing = summary["judged"], summary["stack"]
    yield Figure(name="grafts_judged", value=len(judged), target=4, sense="at_least")
    yield Figure(name="grafts_accepted", value=len(standing), target=1, sense="at_least")
    yield Figure(name="grafts_not_accepted", value=len(judged) - len(standing), target=1, sense="at_least")
    if summary["result"]:
        yield from _result_figures(summary)
    yield from _exactness_figures(registry, root, progress)
    yield Figure(name="import_saint_seconds", value=_time_of("-c", "import saint"), target=0.5, sense="at_most")
    yield Figure(name="saint_help_seconds", value=_time_of("-m", "saint.cli", "--help"), target=0.5, sense="at_most")


def _result_figures(summary: Mapping[str, Any]) -> Iterator["Figure"]:
    from saint.report import Figure

    arms = {arm["name"]: arm for arm in summary["result"]["arms"]}
    grafts, full = arms["grafts"], arms.get("full")
    gain, lost = grafts["gain_bpb"], _worst_loss(grafts)
    allowed = summary["plan"]["gates"]["retention"]["at_most_bpb"]
    yield Figure(
        name="gain_over_standard_error", value=gain["estimate"] / gain["standard_error"], target=20, sense="at_least"
    )
    yield Figure(name="retained_loss_bpb", value=lost, target=allowed, sense="at_most")
    if full:
        share = gain["estimate"] / full["gain_bpb"]["estimate"]
        yield Figure(name="share_of_full_gain", value=share, target=0.6, sense="at_least")
        share = grafts["num_params"] / full["num_params"]
        yield Figure(name="share_of_full_parameters", value=share, target=0.1, sense="at_most")
        yield Figure(name="share_of_full_loss", value=lost / _worst_loss(full), target=0.5, sense="at_most")


def _worst_loss(arm: Mapping[str, Any]) -> float:
    return float(max(loss["estimate"] for loss in arm["regression_bpb"].values()))


def _exactness_figures(registry: "Registry", root: Path, progress: "Terminal") -> Iterator["Figure"]:
    """Newborn, removal and recomposition to the bit, and what merging rounds."""
    from saint.cli._opening import open_all
    from saint.cli.exporting import export_stack
    from saint.composition import compose, probe_logits, restore
    from saint.report import Figure

    _, base, plan, data = open_all(str(registry.folder), None, progress)
    stack = restore(registry)
    bare, composed = probe_logits(base.model), probe_logits(compose(base, stack))
    entries = registry.state.judged
    text = data.train.batches(batch_size=plan.schedule.batch_size, seq_len=plan.schedule.seq_len, seed=plan.seed)
    moved = [probe_logits(compose(base, [_born(base, entry.candidate, text[0])])) - bare for entry in entries]
    again = probe_logits(compose(base, restore(registry)))
    removed = max(
        (entry.evidence.removal.max_abs_difference for entry in entries if entry.evidence.removal), default=0.0
    )
    newborns = max((float(one.abs().max()) for one in moved), default=0.0)
    yield Figure(name="newborn_logit_difference", value=newborns, target=0, sense="at_most")
    yield Figure(name="removal_logit_difference", value=removed, target=0, sense="at_most")
    recomposed = float((again - composed).abs().max())
    yield Figure(name="recomposition_logit_difference", value=recomposed, target=0, sense="at_most")
    if foldable := [graft.digest for graft in stack if graft.foldable]:
        for form in ("lora", "peft", "merged"):
            folder = root / "export" / form
            shutil.rmtree(folder, ignore_errors=True)  # of a demo that was stopped here
            difference = export_stack(registry, base, form, folder, foldable)["max_abs_logit_difference"]
            yield Figure(name=f"{form}_logit_difference", value=difference, target=1e-4, sense="at_most")


def _born(base: "FrozenBase", candidate: "Candidate", tokens: "Tensor") -> "Graft":
    """A newborn, from what training text shows of the base if its kind asks for that."""
    from saint.composition import measure_signals, newborn, wanted_signals

    return newborn(base, candidate, signals=measure_signals(base, (), wanted_signals(candidate), [tokens]))


def _time_of(*arguments: str) -> float:
    """Seconds of a fresh interpreter, the better of two tries."""
    return min(_seconds(*arguments) for _ in range(2))


def _seconds(*arguments: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
    return time.monotonic() - started
