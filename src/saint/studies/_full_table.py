from collections.abc import Mapping, Sequence
from math import exp, log
from statistics import fmean
from typing import Any

import numpy as np

from saint.data import Corpus
from saint.evaluation import repeated_interval
from saint.records import to_plain
from saint.studies._full_plan import FullPlan
from saint.studies._full_study import FullFindings, FullOutcome

Row = dict[str, Any]

_PLATEAU = 0.8  # of a base's tokens: what its loss on *select* still falls after these


def make_full_results(plan: FullPlan, found: FullFindings) -> dict[str, Any]:
    """What the study says, as plain data: a row for each way of spending tokens, and the figures.

    Gains are nats per token of the held-out text saved against the base of the same backbone and seed; differences are
    against the arm that larger models are equal to. Intervals are for other documents and seeds.
    """
    rows = [_row(plan, found, outcome) for outcome in found.outcomes]
    return {"rows": rows, "figures": _figures(plan, rows), "held_out_tokens": num_predicted(found.data.held_out)}


def num_predicted(corpus: Corpus) -> int:
    """Tokens that a loss is paid for: all but the first of each document."""
    return corpus.num_tokens - corpus.num_documents


def _row(plan: FullPlan, found: FullFindings, outcome: FullOutcome) -> Row:
    row: Row = {
        "backbone": outcome.backbone,
        "name": outcome.name,
        "sort": outcome.sort,
        "equal": outcome.equal,
        "status": _status(outcome),
        "lr": outcome.lr,
        "tried": [
            {"lr": lr, "select_bpb": one.get("select_bpb"), "failure": one.get("failure")}
            for lr, one in sorted(outcome.tried.items())
        ],
        "seeds": [_seed(seed, one) for seed, one in outcome.results.items()],
    }
    if row["status"] != "measured":
        return row
    base, arm = (_of(found, outcome.backbone, name) for name in ("base", plan.equal_to))
    row |= _losses(outcome, found.data.held_out) | _costs(outcome)
    row["gain_nats"] = None if outcome is base else _saved(base, outcome, found.data.held_out)
    row["difference_nats"] = None if outcome in (base, arm) else _saved(arm, outcome, found.data.held_out)
    beside = base.results if base is not None and outcome.sort in ("ours", "control") else {}
    row["all_seconds"] = row["seconds"] + (fmean(one["train_s"] for one in beside.values()) if beside else 0.0)
    row["all_tokens"] = row["train_tokens"] + round(
        fmean(one["train_tokens"] for one in beside.values()) if beside else 0
    )
    return row | {"gain_per": _gain_per(row), "plateau_bpb": _still_falling(outcome)}


def _status(outcome: FullOutcome) -> str:
    if not outcome.results:
        return "nothing fits"
    return "diverged" if any("failure" in one for one in outcome.results.values()) else "measured"


def _seed(seed: int, result: Mapping[str, Any]) -> Row:
    if "failure" in result:
        return {"seed": seed, "failure": result["failure"]}
    kept = ("select_bpb", "train_s", "measure_s", "train_tokens", "curve", "recomposition")
    return {"seed": seed, **{name: result[name] for name in kept}, "nats": result["held_out"]}


def _of(found: FullFindings, backbone: str, name: str) -> FullOutcome | None:
    """What came of an arm or of the base of a backbone; None where that was not measured."""
    for one in found.outcomes:
        if one.backbone == backbone and one.name == name and not one.equal and _status(one) == "measured":
            return one
    return None


def _losses(outcome: FullOutcome, held_out: Corpus) -> Row:
    nats = fmean(sum(one["held_out"]) for one in outcome.results.values())
    loss = nats / num_predicted(held_out)
    return {"loss": loss, "perplexity": exp(min(loss, 700)), "bpb": nats / log(2) / held_out.num_bytes}


def _costs(outcome: FullOutcome) -> Row:
    results = list(outcome.results.values())
    differences = [one["recomposition"] for one in results if one["recomposition"] is not None]
    seconds = fmean(one["train_s"] for one in results)
    tokens = fmean(one["train_tokens"] for one in results)
    return {
        "num_params": results[0]["num_params"],
        "total_params": results[0]["total_params"],
        "num_bytes": round(fmean(one["num_bytes"] for one in results)),
        "train_tokens": round(tokens),
        "seconds": seconds,
        "measure_s": fmean(one["measure_s"] for one in results),
        "tokens_per_s": tokens / seconds if seconds else None,
        "memory_bytes": max(one["memory_bytes"] for one in results),
        "flops_per_step": results[0]["flops_per_step"],
        "select_bpb": fmean(one["select_bpb"] for one in results),
        "recomposition": max(differences, default=None),
    }


def _saved(before: FullOutcome | None, after: FullOutcome, held_out: Corpus) -> Row | None:
    """Nats per token saved, seed by seed and document by document."""
    if before is None:
        return None
    pair = [np.asarray([one["held_out"] for one in way.results.values()]) for way in (before, after)]
    interval: Row = to_plain(repeated_interval(pair[0], pair[1], held_out.num_bytes_each))
    scale = log(2) * held_out.num_bytes / num_predicted(held_out)  # bits per byte to nats per token
    return {name: value * scale if name in _IN_BITS else value for name, value in interval.items()}


_IN_BITS = ("estimate", "low", "high", "standard_error", "standard_error_of_documents", "standard_error_of_seeds")


def _gain_per(row: Row) -> dict[str, float | None]:
    """Nats per token for each million parameters, megabyte and hour of a core; an arm's own, beyond its base."""
    if row["gain_nats"] is None:
        return dict.fromkeys(("million_parameters", "megabyte", "hour"))
    gain = row["gain_nats"]["estimate"]
    cost = {"million_parameters": row["num_params"] / 1e6, "megabyte": row["num_bytes"] / 1e6}
    cost["hour"] = row["seconds"] / 3600
    return {name: gain / spent if spent else None for name, spent in cost.items()}


def _still_falling(outcome: FullOutcome) -> float | None:
    """Bits per byte on *select* that a base still gained in the last fifth of its tokens: is it at a plateau?"""
    if outcome.sort != "base":
        return None
    falls = []
    for result in outcome.results.values():
        curve: Sequence[Sequence[float]] = result["curve"][0]
        until = [bpb for tokens, bpb in curve if tokens <= _PLATEAU * curve[-1][0]]
        if until:
            falls.append(min(until) - min(bpb for _, bpb in curve))
    return fmean(falls) if falls else None


def _figures(plan: FullPlan, rows: Sequence[Row]) -> Row | None:
    """Of the arm of ours that is best on *select*, on the first backbone; None where none was measured."""
    first = plan.backbones[0].name
    ours = [one for one in rows if one["backbone"] == first and one["sort"] == "ours" and one["status"] == "measured"]
    if not ours:
        return None
    best = min(ours, key=lambda row: row["select_bpb"])
    seconds = max(one["train_s"] + one["measure_s"] for one in best["seeds"])
    return {"arm": best["name"], "gain": best["gain_nats"], "graft_seconds": seconds}
