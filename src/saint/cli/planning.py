"""What a search would take on a cluster, before there is one."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint import config
from saint.cli._opening import open_registry
from saint.cli._terminal import json_option, quieten, say, say_json, share
from saint.cli.benching import base_or_stand_in, counting_text

if TYPE_CHECKING:
    from saint.growth import Plan, Prediction, UnitCosts
    from saint.search import Cluster

_RECIPE = Path(__file__).parent.parent / "recipes" / "code-to-prose.toml"
_TEXT_STEPS = 64
_GIB = 1 << 30
_SPREAD = 31  # lengths of trials that are drawn from
_SOURCE_HELP = "[REGISTRY|PLAN]"

_seed_option = click.option("--seed", default=0, show_default=True, help="Of lengths of trials, and of failures.")
_select_option = click.option(
    "--select-tokens",
    default=12_288,
    show_default=True,
    type=click.IntRange(min=1),
    help="Development text, of a PLAN.",
)
_judge_option = click.option(
    "--judge-tokens", default=18_432, show_default=True, type=click.IntRange(min=1), help="Sealed text, of a PLAN."
)


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers above 0 with commas between them."""
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        said = f"{value!r} is no list of whole numbers above 0; give such as 1,16,256"
        raise click.BadParameter(said, ctx=context, param=parameter)
    return found


@click.command("plan-cluster")
@click.argument("source", metavar=_SOURCE_HELP, required=False, type=click.Path())
@click.option("--workers", required=True, type=int, help="How many train at once.")
@click.option("--params", type=float, help="Of the base, such as 7e9; those of the base that was timed unless given.")
@click.option("--tokens", type=float, help="That a trial learns from; as many as those that were timed unless given.")
@click.option("--tflops", type=float, help="Operations a second of a worker, in 1e12; as was timed unless given.")
@click.option("--bytes-per-param", default=4.0, show_default=True, help="Of the base.")
@click.option("--per-node", default=8, show_default=True, help="Workers on one machine, which share its base.")
@click.option("--price", type=float, help="Of a worker for an hour.")
@click.option("--rounds", type=int, help="Instead of the plan's.")
@click.option("--candidates", type=int, help="Trials of a round, instead of the plan's.")
@click.option("--finalists", type=int, help="Of a round, instead of the plan's.")
@click.option("--life-hours", type=float, help="Mean time between failures of a worker; without it none fails.")
@click.option(
    "--spot-check", callback=share, default="100%", show_default=True, help="Of development text, for each graft."
)
@click.option("--checkers", default=0, show_default=True, help="Processes that measure grafts for the coordinator.")
@_select_option
@_judge_option
@_seed_option
@json_option
def plan_cluster(
    source: str | None,
    select_tokens: int,
    judge_tokens: int,
    seed: int,
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """Rounds, trials an hour, memory and price of a search on a cluster, predicted.

    What trials and judging took is read from REGISTRY's ledger; for a PLAN (a TOML file), or the demo's plan where
    none is given, a few steps are timed on this machine. It is carried over to other sizes by operations, then rounds
    are simulated with the queue that a search has. What that assumes is printed below.
    """
    from saint.growth import Prices, predict, works_of
    from saint.report import prediction_parts
    from saint.search import Cluster

    prices = Prices(bytes_per_param=asked["bytes_per_param"], per_node=asked["per_node"], per_hour=asked["price"])
    life = {} if asked["life_hours"] is None else {"life_s": 3600 * asked["life_hours"]}
    cluster = Cluster(num_workers=asked["workers"], num_checkers=asked["checkers"], **life)
    _must_be_positive(asked, ("params", "tokens", "tflops", "rounds", "candidates"))
    plan, units = _units(source, select_tokens, judge_tokens)
    rate = None if asked["tflops"] is None else 1e12 * asked["tflops"]
    scaled = units.scaled(num_params=asked["params"], flops_per_s=rate, tokens=asked["tokens"])
    works = works_of(plan, scaled, {name: asked[name] for name in ("rounds", "candidates", "finalists")})
    found = predict(works, scaled, cluster, prices, spot_check=asked["spot_check"], seed=seed)
    record = _record(plan, units, scaled, found, cluster)
    if as_json:
        say_json(record)
    else:
        say(prediction_parts({**record, "rows": _rows(record, found), "title": _title(record)}))


@click.command("simulate-cluster")
@click.argument("source", metavar=_SOURCE_HELP, required=False, type=click.Path())
@click.option("--workers", callback=_numbers, default="1,4,16,64,128,256,512,1000", show_default=True)
@click.option("--trial-seconds", default=60.0, show_default=True, help="On average; a trial takes 3/4 to 5/4 of it.")
@click.option("--per-worker", default=16, show_default=True, help="Trials for each worker in a big round.")
@click.option("--candidates", callback=_numbers, default="36,256,1024", show_default=True, help="Of small rounds.")
@click.option("--finalists", default=3, show_default=True, help="Of a round.")
@click.option(
    "--life-hours", default=24.0, show_default=True, help="Mean time between failures, in rows with failures."
)
@click.option(
    "--spot-check",
    callback=share,
    default="10%",
    show_default=True,
    help="Of development text, held against all of it.",
)
@click.option("--checkers", default=4, show_default=True, help="Processes that measure all of it, in one row.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for a table and a picture.")
@_select_option
@_judge_option
@_seed_option
@json_option
def simulate_cluster(
    source: str | None,
    out: Path | None,
    select_tokens: int,
    judge_tokens: int,
    seed: int,
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """How busy 1 to 1,000 workers are, and where the coordinator becomes the limit.

    The queue of a search is driven in simulated time. What keeps the coordinator busy is measured on this machine, and
    what judging takes read from REGISTRY's ledger where one is given.
    """
    from saint.growth import Sweep, sweep
    from saint.report import sweep_parts, write_sweep

    _must_be_positive(asked, ("trial_seconds", "per_worker", "life_hours"))
    swept = Sweep(
        trial_s=trial_lengths(asked["trial_seconds"]),
        per_worker=asked["per_worker"],
        candidates=asked["candidates"],
        finalists=asked["finalists"],
        life_s=3600 * asked["life_hours"],
        spot_check=asked["spot_check"],
        num_checkers=asked["checkers"],
    )
    _, units = _units(source, select_tokens, judge_tokens)
    rows = sweep(units, asked["workers"], swept, seed=seed)
    record = sweep_record(rows, swept, units, seed=seed, command=shlex.join(["saint", *sys.argv[1:]]))
    if out is not None:
        write_sweep(record, out)
    if as_json:
        say_json(record)
    else:
        say(sweep_parts(record))


def trial_lengths(mean_s: float) -> tuple[float, ...]:
    """Seconds of trials that differ by up to a quarter, evenly, as candidates at low and at high sites do."""
    half = _SPREAD // 2
    return tuple(mean_s * (1 + (place - half) / (4 * half)) for place in range(_SPREAD))


def sweep_record(
    rows: Sequence[Mapping[str, Any]], asked: Any, units: "UnitCosts", *, seed: int, command: str
) -> dict[str, Any]:
    """All that was simulated, as plain data."""
    from saint.growth import costs_of
    from saint.records import to_plain

    times = asked.trial_s
    return {
        "command": command,
        "seed": seed,
        "trial_s": {"mean": sum(times) / len(times), "low": min(times), "high": max(times)},
        "per_worker": asked.per_worker,
        "finalists": asked.finalists,
        "life_s": asked.life_s,
        "spot_check": asked.spot_check,
        "num_checkers": asked.num_checkers,
        "units": {"source": units.source, **to_plain(costs_of(units, 1, 1.0))},
        "rows": list(rows),
    }


def _must_be_positive(asked: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse what cannot be before anything is timed."""
    from saint.errors import ConfigError

    for name in names:
        if asked[name] is not None and not 0 < asked[name] < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} is {asked[name]:g}; expected a number above 0")


def _units(source: str | None, select_tokens: int, judge_tokens: int) -> "tuple[Plan, UnitCosts]":
    """The plan, and what its parts take: by the ledger, or by a few steps on a base that stands in."""
    from saint.growth import Plan, measure_units, units_in

    is_plan = source is None or source.endswith(".toml")
    registry = None if is_plan else open_registry(str(source))
    if registry is None:
        plan = config.load(Path(source) if source else _RECIPE, Plan)
    else:
        plan = config.build(registry.state.created["plan"], Plan, where="the ledger's plan")
    quieten()
    base = base_or_stand_in(None)
    text = counting_text(base, _TEXT_STEPS * plan.schedule.tokens_per_step)
    here = measure_units(base, text, plan, select_tokens=select_tokens, judge_tokens=judge_tokens)
    return plan, here if registry is None else units_in(registry, here)


def _record(
    plan: "Plan", units: "UnitCosts", scaled: "UnitCosts", found: "Prediction", cluster: "Cluster"
) -> dict[str, Any]:
    """The prediction as plain data."""
    from saint.growth import told
    from saint.records import to_plain

    return {
        "plan": plan.name,
        "num_params": scaled.num_params,
        "workers": cluster.num_workers,
        "rounds": found.num_rounds,
        "trial_s": found.works[0].mean_trial_s,
        "simulated": told(found.simulated),
        "costs": to_plain(found.costs),
        "most_workers": found.most_workers,
        "memory": {
            "base_bytes": found.base_bytes,
            "worker_bytes": found.worker_bytes,
            "node_bytes": found.node_bytes,
            "nodes": found.num_nodes,
        },
        "price": found.price,
        "measured": {"source": units.source, "num_params": units.num_params, "flops_per_s": units.flops_per_s},
        "assumptions": _assumptions(units, scaled, cluster),
    }


def _assumptions(units: "UnitCosts", scaled: "UnitCosts", cluster: "Cluster") -> list[str]:
    """What the prediction rests on."""
    lines = [f"unit costs: {units.source}; {units.flops_per_s / 1e9:,.3g} GFLOP a second while training"]
    size = scaled.num_params / units.num_params
    if size != 1:
        lines.append(
            f"an extrapolation by {size:,.4g} in parameters: operations per token, and what a trial keeps in memory, "
            "grow as parameters do; the second is too much rather than too little"
        )
    if scaled.flops_per_s != units.flops_per_s:
        lines.append(
            f"a worker, and the coordinator, does {scaled.flops_per_s / 1e12:,.3g} TFLOP a second instead, whatever "
            "the size of the base"
        )
    helped = f", and {cluster.num_checkers} processes beside it measure what comes back" if cluster.num_checkers else ""
    fails = "none fails"
    if cluster.life_s < float("inf"):
        fails = (
            f"lives for {cluster.life_s / 3600:g} h on average; it is given up {cluster.lease_s:g} s after its last "
            "word, and its trial begins anew"
        )
    return [
        *lines,
        f"a trial learns from {scaled.trial_tokens:,.0f} tokens, and the plan's budget allows all that a round trains",
        f"a worker is ready {cluster.start_s:g} s after it was hired, and {fails}",
        f"one coordinator does one thing at a time{helped}",
        "controls count as far as a ledger timed them, validation not at all",
        "text and prefix caches are not counted as memory; the last have limits of their own in [search]",
    ]


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['plan']}: {record['workers']:,} workers, a base of {record['num_params']:,} parameters"


def _rows(record: Mapping[str, Any], found: "Prediction") -> list[tuple[str, str]]:
    """What a terminal shows."""
    simulated, memory = found.simulated, record["memory"]
    rows = [
        ("rounds", f"{found.num_rounds:,}, {simulated.num_trials:,} trials of {record['trial_s']:,.3g} s on average"),
        ("takes", f"{simulated.makespan_s / 3600:,.3g} hours"),
        ("trials per hour", f"{simulated.trials_per_hour:,.0f}"),
        ("workers train what is checked", f"{simulated.utilisation:.1%} of their time"),
        ("all wait while finalists are judged and rounds end", f"{simulated.barrier_share:.1%} of the time"),
        (
            "coordinator busy",
            f"{simulated.coordinator_share:.1%}; it could keep {found.most_workers:,.0f} workers busy",
        ),
        ("leases lost", f"{simulated.num_lost:,}"),
        ("base, once a node", _size(memory["base_bytes"])),
        ("a worker besides", _size(memory["worker_bytes"])),
        ("a node", f"{_size(memory['node_bytes'])}, and there are {memory['nodes']:,}"),
    ]
    if found.price is not None:
        rows.append(("price, coordinator included", f"{found.price:,.2f}"))
    return rows


def _size(num_bytes: int | None) -> str:
    return "not measured on this system" if num_bytes is None else f"{num_bytes / _GIB:,.3g} GiB"
