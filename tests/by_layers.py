"""Growth by layers, as small as it can be: a plan, and how far it is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import saint
from saint import config, records
from saint.data import Splits, open_splits
from saint.growth import Plan, active_stages, begin_layers, first_config, make_first_stage, open_data, start
from saint.models import FrozenBase
from saint.progress import Progress
from saint.registry import Registry

PLAN = """
name = "layers"
evaluation_seq_len = 32

[data]
prepared = "text"

[budget]
num_params = 40_000
train_tokens = 20_000

[schedule]
num_steps = 24
batch_size = 4
seq_len = 16
evaluate_every = 12
shift = false

[layerwise]
architecture = "saint_layered"
model = { hidden_size = 16, num_attention_heads = 2, max_position_embeddings = 64 }
blocks = 2
lr = 1e-2

[[layerwise.stages]]

[[layerwise.stages]]
tokens = 1600

[[layerwise.stages]]
name = "top"
tokens = 1536

[gates.gain]
at_least_bpb = -0.05
at_most_heavy = 0.5

[gates.rollback]

[judging]
alpha = 0.2

[controls]
after = "never"
"""
LLAMA: Mapping[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}


@dataclass
class Layers:
    """A registry that grows by layers, and what it grows from."""

    registry: Registry
    base: FrozenBase
    data: Splits
    plan: Plan


def plan_of(*overrides: str, **layerwise: Any) -> Plan:
    values = config.parse(PLAN, where="plan", overrides=overrides)
    values["layerwise"] |= layerwise
    return config.build(values, Plan, where="plan")


def begin(root: Path, plan: Plan, *, into: str = "grown", progress: Progress | None = None) -> Layers:
    """As far as the second stage; `root` has the text."""
    data, folder = open_splits(root / "text"), root / into
    make_first_stage(plan, data, folder / "base", progress=progress)
    base = saint.freeze(folder / "base")
    if Registry.can_begin(folder / "registry"):
        start(folder / "registry", base, plan, root=root)
    registry = Registry.open(folder / "registry")
    begin_layers(registry, folder / "base", active_stages(plan, first_config(plan, data.tokenizer)))
    return Layers(registry, base, open_data(registry, plan, base), plan)


def grow(one: Layers, *, progress: Progress | None = None) -> Layers:
    saint.grow(one.base, one.data, one.plan, one.registry, progress=progress)
    return one


def told(one: Layers) -> list[str]:
    """What the ledger says that came of it, without times and seconds."""
    return [records.digest({k: t[k] for k in ("trial", "graft")}) for t in one.registry.state.trained.values()] + [
        entry.digest for entry in one.registry.state.judged
    ]
