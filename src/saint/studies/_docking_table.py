from statistics import fmean
from typing import Any

import numpy as np

from saint.data import Corpus
from saint.records import to_plain
from saint.studies._docking_plan import DockClaim, DockingPlan
from saint.studies._docking_study import DockingFindings, DockingOutcome
from saint.studies._saved import Nats, saved_per_byte

Row = dict[str, Any]


def make_docking_results(plan: DockingPlan, found: DockingFindings) -> Row:
    """What the study says, as plain data: a row for each backbone, alone and with each module, and for each claim.

    Losses are nats per byte of the held-out text, the mean over seeds. Gains are over the same backbone alone, and what
    is lost is against the module that learnt on that backbone; intervals are for other documents and seeds.
    """
    table = {one.name: one for one in found.outcomes}
    return {
        "rows": [_row(one, table, found.data.held_out) for one in found.outcomes],
        "claims": [_claim(claim, table, found.data.held_out) for claim in plan.claims],
        "interfaces": dict(found.interfaces),
        "held_out_bytes": found.data.held_out.num_bytes,
    }


def _row(outcome: DockingOutcome, table: dict[str, DockingOutcome], held_out: Corpus) -> Row:
    row: Row = {
        "name": outcome.name,
        "backbone": outcome.backbone,
        "module": outcome.module,
        "arm": outcome.arm,
        "failure": outcome.failure,
    }
    if outcome.failure:
        return row
    results, nats = outcome.results, _nats(outcome)
    row |= {
        "loss": float(nats.sum(1).mean()) / held_out.num_bytes,
        "seeds": [
            {"seed": seed, "loss": sum(one["held_out"]) / held_out.num_bytes, "nats": one["held_out"]}
            for seed, one in results.items()
        ],
        "train_tokens": round(fmean(one["train_tokens"] for one in results.values())),
        "seconds": fmean(one["train_s"] for one in results.values()),
        "num_params": next(iter(results.values())).get("num_params"),
        "gain": None,
        "short_of_own": None,
    }
    if not outcome.module:
        return row
    alone = table[DockingOutcome(backbone=outcome.backbone).name]
    own = table[DockingOutcome(backbone=outcome.backbone, module=outcome.module, arm="own").name]
    row["gain"] = saved_per_byte(_nats(alone), nats, held_out)
    if own is not outcome and not own.failure:
        row["short_of_own"] = saved_per_byte(nats, _nats(own), held_out)
    return row


def _claim(claim: DockClaim, table: dict[str, DockingOutcome], held_out: Corpus) -> Row:
    """How much more one row gains than the share of another, and whether the whole interval speaks for the claim.

    `holds` is "yes" if its lower end is at least what is claimed, "no" if the upper end is below, else "open"; a claim
    of which a model did not learn has no value.
    """
    row: Row = to_plain(claim) | {"value": None, "saved": None, "target": claim.by, "holds": "not measured"}
    gains = [_gain(table[name], table) for name in (claim.better, claim.than)]
    if gains[0] is None or gains[1] is None:
        return row
    saved = saved_per_byte(gains[0], claim.share * gains[1], held_out)
    holds = "yes" if saved["low"] >= claim.by else "no" if saved["high"] < claim.by else "open"
    return row | {"value": saved["low"], "saved": saved, "holds": holds}


def _gain(outcome: DockingOutcome, table: dict[str, DockingOutcome]) -> Nats | None:
    """Nats that a module saves on its backbone, seed by seed and document by document; None where one failed."""
    alone = table[DockingOutcome(backbone=outcome.backbone).name]
    return None if outcome.failure or alone.failure else _nats(alone) - _nats(outcome)


def _nats(outcome: DockingOutcome) -> Nats:
    return np.asarray([one["held_out"] for one in outcome.results.values()])
