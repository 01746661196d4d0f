"""Whether what was measured again of an accepted graft is what it was accepted by."""

from collections.abc import Mapping, Sequence
from typing import Any

from saint.data import Corpus
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth._answers import PerDocument
from saint.models import FrozenBase
from saint.records import Evidence
from saint.statistics import paired_interval


def measured_here(
    base: FrozenBase, stack: Sequence[Graft], graft: Graft, select: Mapping[str, Corpus], *, seq_len: int
) -> dict[str, dict[str, PerDocument]]:
    """Domain -> model -> nats of each document, as a worker measures them."""
    losses = Losses(seq_len=seq_len)
    models: dict[str, Sequence[Graft]] = {"bare": (), "before": stack, "after": [*stack, graft]}
    return {
        domain: {name: losses.of(base, grafts, corpus) for name, grafts in models.items()}
        for domain, corpus in select.items()
    }


def apart_bpb(
    found: Mapping[str, Mapping[str, PerDocument]], evidence: Evidence, select: Mapping[str, Corpus]
) -> float:
    """The most by which a gain or loss is off what the evidence says, in bits per byte."""
    differences = []
    for name, nats in found.items():
        sizes = select[name].num_bytes_each

        def saved(before: str, nats: Mapping[str, PerDocument] = nats, sizes: Any = sizes) -> float:
            return float(paired_interval(nats[before], nats["after"], sizes).estimate)

        if name == evidence.grown:
            differences.append(saved("before") - evidence.gain_bpb.estimate)
            continue
        differences.append(-saved("before") - evidence.regression_bpb[name].estimate)
        differences.append(-saved("bare") - evidence.drift_bpb[name].estimate)
    return max(map(abs, differences))
