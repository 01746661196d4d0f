"""A study that nobody ran."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from saint import records
from saint.data import DataPlan, Splits
from saint.models import FrozenBase
from saint.records import Candidate
from saint.search import Result
from saint.studies import Findings, StudyPlan, make_results
from saint.studies._study import candidates_of
from saint.training import Schedule

TOKENS_PER_STEP = 8 * 16


def plan_of(**changed: Any) -> StudyPlan:
    settings: dict[str, Any] = {
        "name": "made up",
        "base": "base",
        "data": DataPlan(prepared="text"),
        "proposals": [{"kind": "lora", "options": {"rank": 2}, "bundle": "site", "lr": 0.05}],
        "schedule": records.to_plain(Schedule(num_steps=12, batch_size=8, seq_len=16, evaluate_every=4)),
        "short": [4],
        "num_resamples": 50,
        **changed,
    }
    from saint import config

    return config.build(records.to_plain(settings), StudyPlan, where="test")


def made_up_findings(
    plan: StudyPlan, base: FrozenBase, data: Splits, *, gains: Sequence[float] | None = None, noise: float = 0.0
) -> Findings:
    """Candidate number i gains `gains[i]` bits per byte on every document, more or less for the second seed.

    The map `gradient` puts the last first and `random` knows nothing; a training says after 4 steps how it will end.
    """
    candidates = candidates_of(plan, base.sites())
    gains = gains or [0.01 * (place + 1) for place in range(len(candidates))]
    chance = np.random.default_rng(0)
    num_bytes = data.held_out.num_bytes_each
    bare = {"select_bpb": 3.0, "held_out": (3.0 * np.log(2) * num_bytes).tolist()}

    def result(gain: float) -> Result:
        gain += noise * float(chance.normal())
        return {
            "num_params": 10,
            "train_tokens": 12 * TOKENS_PER_STEP,
            "select_bpb": [[steps * TOKENS_PER_STEP, 3.0 - gain * steps / 12] for steps in (4, 8, 12)],
            "held_out": ((3.0 - gain) * np.log(2) * num_bytes).tolist(),
        }

    return Findings(
        base=base,
        data=data,
        bare=bare,
        candidates=candidates,
        trained={seed: [result(gain) for gain in gains] for seed in plan.seeds},
        scores={
            "gradient": dict(enumerate_backwards(candidates)),
            "random": {one.sites[0].key: float(chance.random()) for one in candidates},
        },
        num_known=0,
    )


def enumerate_backwards(candidates: Sequence[Candidate]) -> list[tuple[str, float]]:
    return [(one.sites[0].key, float(len(candidates) - place)) for place, one in enumerate(candidates)]


def made_up_study(plan: StudyPlan, found: Findings) -> dict[str, Any]:
    """Its record, as the command writes it."""
    data = found.data
    return {
        "name": plan.name,
        "command": "saint study sensitivity",
        "plan_digest": "0" * 64,
        "code": "1" * 64,
        "versions": {"python": "3"},
        "machine": {"processor": "x", "num_cores": 2, "num_workers": 1},
        "plan": records.to_plain(plan),
        "base": {"digest": found.base.digest, "architecture": "Llama", "num_params": 1000},
        "data": data.describe(),
        "grown_domain": data.grown_domain,
        **make_results(plan, found),
    }
