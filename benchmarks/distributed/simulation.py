"""How busy 256 simulated workers are, with what the coordinator costs measured here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.distributed.setting import Setting
from benchmarks.search.findings import Findings
from saint import config
from saint.cli.benching import base_or_stand_in, counting_text
from saint.cli.planning import sweep_record, trial_lengths
from saint.growth import Plan, Sweep, UnitCosts, measure_units, sweep

_RECIPE = Path(__file__).parents[2] / "recipes" / "code-to-prose.toml"
_SELECT_TOKENS, _JUDGE_TOKENS = 12_288, 18_432  # of the reference's round
_NUM_WORKERS, _TRIAL_S, _TARGET = 256, 60.0, 0.9


def measure(setting: Setting) -> Findings:
    """One figure for each way in which a coordinator can keep up; what it can by itself stands beside them."""
    plan = config.load(_RECIPE, Plan)
    if setting.size == "tiny":
        few = replace(plan.schedule, num_steps=2, batch_size=1, seq_len=32, evaluate_every=1)
        plan = replace(plan, schedule=few)
    base = base_or_stand_in(None)
    text = counting_text(base, 64 * plan.schedule.tokens_per_step)
    units = measure_units(base, text, plan, select_tokens=_SELECT_TOKENS, judge_tokens=_JUDGE_TOKENS)
    return found_in(simulated(units, per_worker=16 if setting.size == "full" else 2), setting)


def simulated(units: UnitCosts, *, per_worker: int) -> dict[str, Any]:
    """The whole record, as `saint simulate-cluster --json` prints it; every figure is of one big round with its end."""
    asked = Sweep(trial_s=trial_lengths(_TRIAL_S), per_worker=per_worker, candidates=(36,))
    return sweep_record(sweep(units, (_NUM_WORKERS,), asked), asked, units, seed=0, command="")


def found_in(record: Mapping[str, Any], setting: Setting) -> Findings:
    """What was asked for, and shown."""
    findings, [row] = Findings(setting=setting.search), record["rows"]
    what = f"share of time that {_NUM_WORKERS} workers train"
    for way, name, how in (
        ("spot", "spot_checked", f"grafts measured again on {record['spot_check']:.0%} of development text"),
        ("helped", "in_full_by_checkers", f"on all of it, by {record['num_checkers']} checkers"),
    ):
        findings.ask(f"utilisation_{_NUM_WORKERS}_{name}", what, how, row[way]["utilisation"], _TARGET)
    findings.add(what, "on all of it, by the coordinator alone", row["all"]["utilisation"])
    findings.notes.append(
        f"trials of {_TRIAL_S:g} s, {record['per_worker']} for each worker; {record['units']['source']}: measuring a "
        f"graft again takes {1000 * record['units']['measure_s']:.0f} ms"
    )
    return findings
