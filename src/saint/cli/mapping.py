from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from saint.cli._opening import open_all
from saint.cli._terminal import json_option, registry_argument, say, say_json, watching

if TYPE_CHECKING:
    from rich.table import Table

    from saint.data import Splits
    from saint.grafts import Graft
    from saint.growth import Plan
    from saint.models import FrozenBase
    from saint.progress import Progress
    from saint.records import Site


@click.command("map")
@registry_argument
@click.option("--method", "methods", multiple=True, metavar="NAME", help="A map; may be repeated. All, if left out.")
@click.option("--top", type=click.IntRange(min=1), help="Only sites that a map has among the first so many of a role.")
@click.option("--base", "base_name", help="Where the base is now, if it has moved.")
@json_option
def map_sites(
    registry: str, methods: tuple[str, ...], top: int | None, base_name: str | None, *, as_json: bool
) -> None:
    """Where REGISTRY's model would answer to a change: every site's score in every map, from one pass.

    Measured on the train split, with what stands; nothing is recorded. Scores are comparable within one map, and best
    within one role: the rank there follows each score.
    """
    from saint.composition import restore

    with watching() as progress:
        opened, base, plan, data = open_all(registry, base_name, progress)
        record = measure(base, restore(opened), plan, data, methods, progress)
    record["sites"] = [
        site for site in record["sites"] if site["ranks"] and (top is None or min(site["ranks"].values()) <= top)
    ]
    if as_json:
        say_json(record)
        return
    names = list(record["maps"])
    parts = [
        _table(record, names[start : start + _MAPS_IN_A_TABLE]) for start in range(0, len(names), _MAPS_IN_A_TABLE)
    ]
    say([*parts, *_cost_lines(record)])


def measure(
    base: "FrozenBase",
    stack: "Sequence[Graft]",
    plan: "Plan",
    data: "Splits",
    methods: Sequence[str],
    progress: "Progress",
) -> dict[str, Any]:
    """The maps called `methods` (all, if none is named), of every site, and what they cost, as plain data."""
    from saint import discovery
    from saint.sensitivity import Map, observe

    names = list(dict.fromkeys(methods)) or discovery.names("sensitivity")
    maps = {name: discovery.find("sensitivity", name, Map)() for name in names}
    found = observe(
        base,
        data.train,
        maps,
        stack=stack,
        num_batches=plan.sensitivity.num_batches,
        batch_size=plan.schedule.batch_size,
        seq_len=plan.schedule.seq_len,
        seed=plan.seed,
        progress=progress,
    )
    training = _training_flops(base, stack, plan, data)
    return {
        "num_tokens": found.num_tokens,
        "num_flops": found.num_flops,
        "pass_flops": found.pass_flops,
        "training_flops": training,
        "maps": {name: {"formula": one.formula, "reference": one.reference} for name, one in maps.items()},
        "sites": _rows(base.sites(), found.scores),
    }


def _rows(sites: "Sequence[Site]", maps: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Each site with its scores and ranks in those maps that have one for it."""
    ranks = {name: _ranks(sites, scores) for name, scores in maps.items()}
    return [
        {
            "site": site.key,
            "role": site.role,
            "depth": site.depth,
            "stream": site.stream,
            "scores": {name: scores[site.key] for name, scores in maps.items() if site.key in scores},
            "ranks": {name: places[site.key] for name, places in ranks.items() if site.key in places},
        }
        for site in sites
    ]


def _ranks(sites: "Sequence[Site]", scores: Mapping[str, float]) -> dict[str, int]:
    """Site key -> its place among the sites of its role and stream, from 1."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for site in sites:
        if site.key in scores:
            groups[site.stream, site.role].append(site.key)
    return {
        key: place
        for group in groups.values()
        for place, key in enumerate(sorted(group, key=lambda key: -scores[key]), start=1)
    }


def _training_flops(base: "FrozenBase", stack: "Sequence[Graft]", plan: "Plan", data: "Splits") -> int:
    """What the plan's schedule takes for a LoRA of rank 8 at the linear site in the middle of the model."""
    from saint.composition import compose, newborn
    from saint.records import Candidate
    from saint.training import count_step

    linear = [site for site in base.sites() if site.sort == "linear"]
    site = linear[len(linear) // 2]
    rank = min(_RANK, site.d_in, site.d_out)
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": rank}), stack=stack)
    for standing in stack:
        standing.requires_grad_(requires_grad=False)
    schedule = plan.schedule
    tokens = data.train.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=plan.seed)[0]
    step = count_step(compose(base, [*stack, graft]), graft.parameters(), tokens)
    return step.num_flops * schedule.num_steps


_RANK = 8
_MAPS_IN_A_TABLE = 6  # more make it wider than a terminal


def _table(record: Mapping[str, Any], names: Sequence[str]) -> "Table":
    """Every site that one of the maps called `names` has a score for."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Sensitivity", title_justify="left", box=box.HORIZONTALS)
    for column in ("site", "role", "depth"):
        table.add_column(column, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for site in sorted(record["sites"], key=lambda site: (site["stream"], site["role"])):
        if not site["scores"].keys() & set(names):
            continue
        cells = [site["site"], site["role"], str(site["depth"]) if site["depth"] >= 0 else "-"]
        cells += [_cell(site, name) for name in names]
        table.add_row(*map(Text, cells))  # as they are: brackets are no markup
    return table


def _cell(site: Mapping[str, Any], name: str) -> str:
    if name not in site["scores"]:
        return "-"
    return f"{site['scores'][name]:.3g} #{site['ranks'][name]}"


def _cost_lines(record: Mapping[str, Any]) -> list[str]:
    share = record["num_flops"] / record["training_flops"]
    cost = (
        f"{record['num_flops'] / 1e9:,.3g} GFLOP on {record['num_tokens']:,} tokens, {record['pass_flops'] / 1e9:,.3g} "
        f"of them the model's passes: {share:.2f} of training a LoRA at one site in the middle, by the plan's schedule"
    )
    return ["#: place among the sites of its role. -: the map has no score for such a site.", cost]
