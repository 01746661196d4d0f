"""Training what is free to learn of a model, and nothing else."""

from pathlib import Path

import pytest
import torch

from saint.composition import mix
from saint.data import Splits
from saint.errors import ConfigError
from saint.testing import tiny_base
from saint.training import Schedule, train_free

SCHEDULE = Schedule(num_steps=20, batch_size=4, seq_len=16, evaluate_every=10)


def test_a_gate_learns_above_experts_that_stay_as_they_are(data: Splits, tmp_path: Path) -> None:
    def gated() -> torch.nn.Module:
        return mix([tiny_base(data.tokenizer, seed=seed) for seed in (1, 2)], "gate")

    model, again = gated(), gated()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    text, select = data.of("code", "train"), data.of("code", "select")
    history = train_free(model, text, of="gate", lr=0.1, select=select, schedule=SCHEDULE, checkpoint=tmp_path / "at")
    after = model.state_dict()
    changed = {name for name, one in before.items() if not torch.equal(one, after[name])}
    assert changed == {"gate.weight", "gate.bias"}
    assert history.train_tokens == SCHEDULE.num_tokens
    train_free(again, text, of="gate", lr=0.1, select=select, schedule=SCHEDULE)
    assert all(map(torch.equal, again.state_dict().values(), after.values()))


def test_nothing_free_is_refused(data: Splits) -> None:
    with pytest.raises(ConfigError, match="no parameter of the model asks for a gradient"):
        train_free(tiny_base(data.tokenizer).model, data.train, of="nothing", lr=0.1)
