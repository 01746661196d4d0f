"""From what was measured to the rows of the table, as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from saint.comparison._compare import Findings, Outcome, scores_of
from saint.comparison._entries import spell_filling
from saint.comparison._plan import ComparisonPlan
from saint.comparison._tuning import at_the_edge
from saint.comparison._views import strongest_rivals
from saint.evaluation import repeated_interval
from saint.records import to_plain

Row = dict[str, Any]
_LEVEL = 0.95


def make_rows(plan: ComparisonPlan, findings: Findings) -> list[Row]:
    """One row for each arm and budget, in the plan's order; differences are to the strongest rival of the budget."""
    rows = [_row(plan, findings, outcome) for outcome in findings.outcomes]
    num_bytes = findings.data.held_out.num_bytes_each
    rivals = strongest_rivals(rows, plan.rival)
    for budget in sorted(plan.budgets):
        there = [row for row in rows if row["budget"] == budget and row["status"] == "measured"]
        rival = rivals.get(budget)
        num_ours = sum(row["ours"] for row in there)
        for row in there:
            row["num_compared"] = num_ours
            if rival is not None and row is not rival:
                before, after = _nats(rival), _nats(row)
                corrected = 1 - (1 - _LEVEL) / max(1, num_ours)
                row["difference_bpb"] = to_plain(repeated_interval(before, after, num_bytes))
                row["corrected_bpb"] = to_plain(repeated_interval(before, after, num_bytes, level=corrected))
    return rows


def _row(plan: ComparisonPlan, findings: Findings, outcome: Outcome) -> Row:
    entry, arm = outcome.entry, outcome.entry.arm
    row = {
        "arm": arm.name,
        "kind": arm.kind or f"whole base, {arm.whole}",
        "ours": plan.is_ours(arm),
        "budget": entry.budget,
        "num_params_allowed": entry.num_params_allowed,
        "status": _status(outcome),
        **spell_filling(entry.filling),
        "lr": outcome.lr,
        "lr_at_the_edge": bool(outcome.tried) and outcome.lr is not None and at_the_edge(scores_of(outcome.tried)),
        "tried": [
            {"lr": lr, "select_bpb": result.get("select_bpb"), "failure": result.get("failure")}
            for lr, result in sorted(outcome.tried.items())
        ],
        "seeds": [_seed(findings, seed, outcome) for seed in outcome.measured],
        "gain_bpb": None,
        "difference_bpb": None,
        "corrected_bpb": None,
        "num_compared": 0,
    }
    return row | (_measured(findings, outcome) if row["status"] == "measured" else {})


def _status(outcome: Outcome) -> str:
    if not outcome.tried:
        return "nothing fits"
    if outcome.lr is None or any("failure" in result for result in outcome.measured.values()):
        return "diverged"
    return "measured"


def _seed(findings: Findings, seed: int, outcome: Outcome) -> Row:
    trained, measured = outcome.trained[seed], outcome.measured[seed]
    if "failure" in measured:
        return {"seed": seed, "failure": measured["failure"]}
    bare = np.asarray([findings.bare["held_out"]])
    gain = repeated_interval(bare, np.asarray([measured["held_out"]]), findings.data.held_out.num_bytes_each)
    return {
        "seed": seed,
        "gain_bpb": gain.estimate,
        **(spell_filling(drawn) if (drawn := outcome.entry.drawn.get(seed)) else {}),
        "history": trained["history"],
        "nats": {"held_out": measured["held_out"], **measured["retained"]},
    }


def _measured(findings: Findings, outcome: Outcome) -> Row:
    trained, measured = list(outcome.trained.values()), list(outcome.measured.values())
    protected = findings.data.protected
    gain = _against_bare(findings.bare["held_out"], [m["held_out"] for m in measured], findings.data.held_out)
    # positive is worse: what is saved against the grown model is what that model loses
    regression = {
        domain: _against_bare(findings.bare["retained"][domain], [m["retained"][domain] for m in measured], corpus, -1)
        for domain, corpus in protected.items()
    }
    drifts = [m["merge_drift"] for m in measured if m["merge_drift"] is not None]
    peaks = [t["peak_bytes_on_device"] for t in trained if t["peak_bytes_on_device"] is not None]
    step_tokens = trained[0]["tokens_per_step"]
    cost = {
        "num_params": _mean(t["num_params"] for t in trained),  # they differ where each seed draws its sites
        "num_bytes": _mean(t["num_bytes"] for t in trained),
        "train_tokens": _mean(t["history"]["train_tokens"] for t in trained),
        "train_flops": fmean(t["step"]["num_flops"] * (t["history"]["train_tokens"] / step_tokens) for t in trained),
        "flops_per_token": _mean(m["flops_per_token"] for m in measured),
        "seconds": outcome.train_s,
        "memory_bytes": max(t["step"]["memory_bytes"] for t in trained),
        "peak_bytes_on_device": max(peaks, default=None),
        "merge_drift": max(drifts, default=None),
    }
    per = {"parameter": "num_params", "byte": "num_bytes", "flop": "train_flops", "second": "seconds"}
    return {
        **cost,
        "select_bpb": fmean(t["select_bpb"] for t in trained),
        "gain_bpb": gain,
        "regression_bpb": regression,
        "gain_per": {name: gain["estimate"] / cost[key] if cost[key] else None for name, key in per.items()},
    }


def _against_bare(bare: Sequence[float], grown: Sequence[Sequence[float]], corpus: Any, sign: int = 1) -> Row:
    before, after = np.tile(np.asarray(bare), (len(grown), 1)), np.asarray(grown)
    pair = (before, after) if sign > 0 else (after, before)
    plain: Row = to_plain(repeated_interval(*pair, corpus.num_bytes_each))
    return plain


def _mean(counts: Iterable[int]) -> int:
    return round(fmean(counts))


def _nats(row: Mapping[str, Any]) -> Any:
    """Held-out nats, (seeds, documents)."""
    return np.asarray([seed["nats"]["held_out"] for seed in row["seeds"]])
