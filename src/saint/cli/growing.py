from pathlib import Path
from typing import Any, get_args

import click

from saint.cli._hiring import EXECUTORS, Hiring, hands_for, size
from saint.cli._layers import begin_by_layers
from saint.cli._opening import open_all
from saint.cli._ranks import Several, are_several, is_another, leading, serve_the_first, several_options
from saint.cli._terminal import registry_argument, say, share, watching
from saint.records import Quantization


@click.command()
@registry_argument
@click.option("--base", "base_name", required=True, help="Folder or hub name of the model to grow.")
@click.option("--plan", "plan_path", required=True, type=click.Path(), help="The plan, a TOML file.")
@click.option("--revision", help="Branch, tag or commit of a hub name.")
@click.option("--quantize", type=click.Choice(get_args(Quantization)), help="Store the base's linear maps in few bits.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the plan.")
def init(
    registry: str,
    base_name: str,
    plan_path: str,
    revision: str | None,
    quantize: Quantization | None,
    overrides: tuple[str, ...],
) -> None:
    """Make a REGISTRY for one base and one plan, with its text prepared."""
    from saint import config
    from saint.growth import Plan, start
    from saint.models import freeze

    path = Path(plan_path)
    plan = config.load(path, Plan, overrides=overrides)
    text = path.read_text(encoding="utf-8") + "".join(f"\n# --set {override}" for override in overrides)
    with watching() as progress:
        base = freeze(base_name, revision=revision, quantize=quantize)
        made = start(registry, base, plan, root=path.parent, plan_text=text, progress=progress)
    data = made.state.created["data"]
    click.echo(f"{registry}: base {base.digest[:12]}, {base.num_params:,} parameters, {len(base.sites())} sites")
    for name, described in data.items():
        click.echo(f"  {name}: {described['num_documents']:,} documents, {described['num_tokens']:,} tokens")
    click.echo(f"next: saint grow {registry}")


@click.command()
@click.argument("registry", metavar="REGISTRY|PLAN", type=click.Path())
@click.option("--base", "base_name", help="Where the base of a registry is now, if it has moved.")
@click.option(
    "--output-dir", type=click.Path(), help="Where growth by a PLAN goes; saint-grow-NAME unless given. Resumes there."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the PLAN.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Have so many worker processes train, one thread each; without it all is trained here.",
)
@click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    default=EXECUTORS[0],
    show_default=True,
    help="Where they are: on this machine, or with Ray, which needs saint-g[ray].",
)
@click.option(
    "--address",
    metavar="HOST:PORT|auto",
    help="Of a Ray cluster, auto for the one that runs on this machine; without it Ray is started here.",
)
@click.option(
    "--gpus",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Have each worker compute on so much of a GPU; a fraction shares one. Without it none does.",
)
@click.option(
    "--memory",
    callback=size,
    metavar="SIZE",
    help="Memory of a worker, such as 4GiB; what the largest trial of the plan takes unless given, 0 for no limit.",
)
@click.option(
    "--spot-check",
    callback=share,
    default="100%",
    show_default=True,
    help="Share of development text that each graft which comes back is measured again on.",
)
@click.option(
    "--checkers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Have so many more processes of this machine measure what workers answer; without any the coordinator does.",
)
@several_options
def grow(
    registry: str,
    base_name: str | None,
    output_dir: str | None,
    overrides: tuple[str, ...],
    several: Several,
    **of_workers: Any,
) -> None:
    """Grow REGISTRY's base as its plan says; goes on where an earlier run stopped.

    Several processes may grow it at once: they take turns, a round each.

    With --workers the candidates of a round are trained at once, each by one worker. What is accepted is the same
    however many there are and however often one dies; what they answer is measured again before it counts.

    A PLAN is a TOML file, or a recipe, with a table [layerwise]: its first stage makes the base, and the stages after
    it grow blocks on top, in a registry beside it. What is active in each stage is printed before anything is trained.

    Under torchrun each candidate is trained by all processes together; --fsdp divides the base among them.
    """
    if is_another():
        serve_the_first(several.device)
        return
    _must_be_of_a_plan(registry, base_name, output_dir, overrides)
    hiring = _hiring(**of_workers)
    several.must_be_there(registry)

    from saint.composition import restore
    from saint.errors import HoldOutError
    from saint.growth import brief_of, grow as grow_registry
    from saint.report import report_parts, summarise

    with watching() as progress, leading(several.device) as ranks:
        if registry.endswith(".toml"):
            opened, base, plan, data = begin_by_layers(registry, output_dir, overrides, progress)
        else:
            opened, base, plan, data = open_all(registry, base_name, progress)
        restore(opened)  # refuse damaged grafts before any work is done
        if ranks is not None:
            ranks.begin(brief_of(opened, base, plan, num_sharing=1), plan, base, fsdp=several.fsdp)
        try:
            with hands_for(opened, base, plan, hiring, progress.note) as hands:
                grow_registry(base, data, plan, opened, progress=progress, workforce=ranks or hands)
        except HoldOutError:  # it ends growth, and what came of that was measured
            say(report_parts(summarise(opened)))
            raise
    say(report_parts(summarise(opened)))


def _must_be_of_a_plan(
    registry: str, base_name: str | None, output_dir: str | None, overrides: tuple[str, ...]
) -> None:
    if registry.endswith(".toml"):
        if base_name:
            raise click.UsageError("--base is of a registry; growth by a PLAN makes its own base.")
    elif output_dir or overrides:
        raise click.UsageError("--output-dir and --set are of a PLAN; a registry has its plan already.")


def _hiring(*, workers: int | None, memory: int | None, gpus: float | None, **others: Any) -> Hiring | None:
    """What is asked of workers; None where there are to be none."""
    if others["address"] and others["executor"] != "ray":
        raise click.UsageError("--address is of a Ray cluster; give --executor ray.")
    if workers is not None and are_several():
        raise click.UsageError(
            "under torchrun all processes train each candidate together; leave --workers out, or start saint grow by "
            "itself."
        )
    if others["checkers"] and others["spot_check"] < 1:
        raise click.UsageError("--checkers measure every graft in full; leave --spot-check out.")
    if workers is not None:
        return Hiring(number=workers, memory_bytes=memory, gpus=gpus or 0.0, **others)
    if others["executor"] == "ray":
        raise click.UsageError("--executor ray needs to know how many --workers.")
    if gpus is not None or memory is not None:
        raise click.UsageError("--gpus and --memory are of each worker; give --workers.")
    if others["spot_check"] < 1 or others["checkers"]:
        raise click.UsageError("--spot-check and --checkers are of what workers answer; give --workers.")
    return None
