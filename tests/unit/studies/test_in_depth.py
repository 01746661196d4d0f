"""Growth by layers that nobody judges, as a study has it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saint import config
from saint.composition import compose, probe_logits
from saint.consolidation import merge
from saint.data import Splits
from saint.errors import ConfigError
from saint.progress import Silent
from saint.studies import InDepth
from saint.studies._in_depth import Growing, Grown
from saint.training import BasePlan, Plateau, Schedule

pytestmark = pytest.mark.slow  # every test trains stages

MODEL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "max_position_embeddings": 32}


def growing(data: Splits, folder: Path, *, model: dict[str, Any] | None = None, **settings: Any) -> Growing:
    schedule = Schedule(num_steps=16, batch_size=2, seq_len=16, evaluate_every=2, patience=100)
    plan = BasePlan(
        architecture="saint_layered", model={**MODEL, **(model or {})}, domain="prose", lr=1e-2, schedule=schedule
    )
    text, select = data.train, data.select[data.grown_domain]
    options = InDepth(**{"stages": 2, **settings})
    return Growing(plan, options, data.tokenizer, text, select, checkpoint=folder / "c", progress=Silent())


@pytest.fixture
def grown(data: Splits, tmp_path: Path) -> Grown:
    return growing(data, tmp_path).grow()


def test_stages_share_blocks_and_tokens_and_as_much_learns_in_each(grown: Grown) -> None:
    first, second = grown.stages
    assert grown.base.model.config.num_hidden_layers == 2
    assert first.active_params == second.active_params
    assert [one.history.train_tokens for one in grown.stages] == [8 * 2 * 16] * 2
    assert first.flops < second.flops < 2 * first.flops, "frozen blocks cost a forward pass and no more"
    whole = grown.base.num_params + sum(graft.num_params for graft in grown.stack) - grown.folded_params
    blocks = second.active_params - grown.folded_params
    assert whole == grown.base.num_params + blocks


def test_what_is_below_a_stage_is_what_it_was(grown: Grown) -> None:
    grown.base.check()
    without = probe_logits(compose(grown.base, []))
    assert torch.equal(without, probe_logits(grown.base.model))
    assert not torch.equal(without, probe_logits(grown.model))


def test_a_stage_ends_at_a_plateau_and_the_last_one_has_what_is_left(data: Splits, tmp_path: Path) -> None:
    plateau = Plateau(at_least_bpb=100.0, patience=1, cooldown=0.5)  # nothing is ever enough
    found = growing(data, tmp_path, plateau=plateau, stages=2).grow()
    first, second = (one.history.train_tokens // 32 for one in found.stages)
    assert first < 8
    assert first + second == 16


def test_a_table_that_learns_does_so_in_the_first_stage_alone(data: Splits, tmp_path: Path) -> None:
    found = growing(data, tmp_path, model={"interface": "learned"}, interface_learns=True).grow()
    table = found.base.model.get_input_embeddings().weight
    first, second = found.stages
    assert first.active_params == second.active_params + table.numel()
    assert not table.requires_grad


@pytest.mark.parametrize("after", ["last stage", "every stage"])
def test_phases_have_their_share_of_the_tokens(data: Splits, tmp_path: Path, after: str) -> None:
    settings = {"stages": 4, "lora": {"share": 0.375, "after": after}}
    found = config.build({**settings}, InDepth, where="test")
    grown = growing(data, tmp_path, stages=4, lora=found.lora).grow()
    steps = [one.history.train_tokens // 32 for one in grown.stages]
    kinds = ["first", *(graft.candidate.kind for graft in grown.stack)]
    assert sum(steps) == 16
    assert sum(n for n, kind in zip(steps, kinds, strict=True) if kind == "readjust") == 6
    assert kinds.count("readjust") == (1 if after == "last stage" else 3)
    assert kinds[-1] == "readjust"
    most = grown.stages[0].active_params
    assert max(one.active_params for one in grown.stages) == most
    deeper = merge(grown.base, grown.stack).num_params
    assert grown.base.num_params + sum(graft.num_params for graft in grown.stack) - grown.folded_params == deeper


def test_stages_that_do_not_divide_the_blocks(data: Splits, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 stages do not divide 4 blocks"):
        growing(data, tmp_path, stages=3)


def test_equal_seeds_grow_equal_models(data: Splits, tmp_path: Path, grown: Grown) -> None:
    again = growing(data, tmp_path / "again").grow()
    assert [graft.digest for graft in again.stack] == [graft.digest for graft in grown.stack]
