"""Training that goes on from a graft: its weights, its strength, and no first step."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from interrupting import StopsAfter
from saint import records
from saint.composition import compose
from saint.data import Splits
from saint.errors import ConfigError, Interrupted
from saint.evaluation import choose_strength
from saint.grafts import Graft, grow_from, joined
from saint.models import FrozenBase
from saint.records import Candidate
from saint.training import Schedule, Search, Trained, Workspace, train_many

SCHEDULE = Schedule(num_steps=6, batch_size=4, seq_len=16, warmup=0.2, evaluate_every=3)


@pytest.fixture
def pair(base: FrozenBase, data: Splits) -> list[Graft]:
    """Trained apart."""
    singles = [
        Candidate(sites=(site,), kind="lora", options={"rank": 2}, lr=0.03)
        for site in base.sites()
        if site.role == "down"
    ]
    return [graft_of(one) for one in train_many(base, (), singles, data.train, schedule=SCHEDULE)]


def graft_of(trained: Trained) -> Graft:
    assert trained.graft is not None
    return trained.graft


def at_half(pair: Sequence[Graft]) -> Graft:
    start = joined(pair)
    start.set_strength(0.5)
    return start


def train_from(base: FrozenBase, data: Splits, start: Graft, **settings: Any) -> Graft:
    candidate = replace(start.candidate, lr=0.02, seed=1)
    return graft_of(
        train_many(
            base,
            (),
            [candidate],
            data.train,
            **{"schedule": SCHEDULE, "starts": {records.digest(candidate): start}, **settings},
        )[0]
    )


def test_it_does_what_a_plain_loop_at_that_strength_does(base: FrozenBase, data: Splits, pair: list[Graft]) -> None:
    start = at_half(pair)
    before = start.to_bytes()
    trained = train_from(base, data, start)
    assert start.to_bytes() == before, "it is gone on from, not changed"
    graft = grow_from(start.candidate, weights=before)
    assert graft.strength == trained.strength == 0.5
    model, parameters = compose(base, [graft]), list(graft.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=0.02, betas=(SCHEDULE.beta1, SCHEDULE.beta2), weight_decay=SCHEDULE.weight_decay
    )
    batches = data.train.batches(batch_size=4, seq_len=16, seed=1)
    for step in range(SCHEDULE.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * SCHEDULE.lr_share(step)
        tokens = batches[step]
        optimizer.zero_grad()
        logits = model(input_ids=tokens[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(parameters, SCHEDULE.clip_norm)
        optimizer.step()
    for one, other in zip(trained.parameters(), parameters, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-3, atol=1e-5)


def test_its_history_counts_what_went_before(base: FrozenBase, data: Splits, pair: list[Graft]) -> None:
    history = train_from(base, data, at_half(pair), select=data.select["prose"]).history
    assert history is not None
    each = SCHEDULE.num_tokens
    assert (history.train_tokens, history.all_tokens, history.strength) == (each, 3 * each, 0.5)
    assert history.first_step == ()


def test_a_kind_with_a_first_step_takes_none(base: FrozenBase, data: Splits) -> None:
    [site, *_] = [site for site in base.sites() if site.role == "down"]
    candidate = Candidate(sites=(site,), kind="lora", options={"rank": 2, "start": "gradient"}, lr=0.03)
    [newborn] = train_many(base, (), [candidate], data.train, schedule=SCHEDULE)
    assert newborn.graft is not None
    assert newborn.graft.history is not None
    assert newborn.graft.history.first_step
    history = train_from(base, data, newborn.graft).history
    assert history is not None
    assert history.first_step == ()


def test_a_start_fades_in_to_its_own_strength(base: FrozenBase, data: Splits, pair: list[Graft]) -> None:
    trained = train_from(base, data, at_half(pair), schedule=replace(SCHEDULE, fade_in=0.5))
    assert trained.strength == 0.5
    assert trained.to_bytes() != train_from(base, data, at_half(pair)).to_bytes()


def test_together_with_newborns_each_comes_to_what_it_comes_to_alone(
    base: FrozenBase, data: Splits, pair: list[Graft]
) -> None:
    start = at_half(pair)
    going_on = replace(start.candidate, lr=0.02, seed=1)
    newborn = replace(going_on, seed=2)
    settings: dict[str, Any] = {"schedule": SCHEDULE, "search": Search(exact=True)}
    starts = {records.digest(going_on): start}
    both = train_many(base, (), [newborn, going_on], data.train, starts=starts, **settings)
    [alone] = train_many(base, (), [newborn], data.train, **settings)
    assert [graft_of(one).to_bytes() for one in both] == [
        graft_of(alone).to_bytes(),
        train_from(base, data, start).to_bytes(),
    ]


def test_a_stopped_run_goes_on_to_the_same_bits_and_is_not_that_of_another_start(
    base: FrozenBase, data: Splits, pair: list[Graft], tmp_path: Path
) -> None:
    start, checkpoint, select = at_half(pair), tmp_path / "run.safetensors", data.select["prose"]
    through = train_from(base, data, start, select=select)
    stop = Workspace(checkpoint_of=lambda _: checkpoint, progress=StopsAfter(4 * SCHEDULE.tokens_per_step))
    kept = Workspace(checkpoint_of=lambda _: checkpoint)
    with pytest.raises(Interrupted):
        train_from(base, data, start, select=select, work=stop)
    assert checkpoint.exists()
    other = joined(pair)
    assert (
        train_from(base, data, other, select=select, work=kept).to_bytes()
        == train_from(base, data, other, select=select).to_bytes()
    ), "what was saved is of another start"
    checkpoint.unlink()
    with pytest.raises(Interrupted):
        train_from(base, data, start, select=select, work=stop)
    assert train_from(base, data, start, select=select, work=kept).to_bytes() == through.to_bytes()


def test_strengths_are_shares_of_what_it_was_trained_at(base: FrozenBase, data: Splits, pair: list[Graft]) -> None:
    graft = train_from(base, data, at_half(pair))
    for _ in range(2):  # also when it is chosen again
        choose_strength(base, (), graft, grown=data.select["prose"], retained={}, at_most_bpb={}, strengths=(1.0,))
        assert graft.strength == 0.5


@pytest.mark.parametrize("what", ["sites", "options", "kind"])
def test_a_start_that_is_another_graft_is_refused(base: FrozenBase, data: Splits, pair: list[Graft], what: str) -> None:
    start = at_half(pair)
    candidate = {
        "sites": replace(start.candidate, sites=start.candidate.sites[:1]),
        "options": replace(start.candidate, options={"rank": 1}),
        "kind": replace(start.candidate, kind="dense", options={}),
    }[what]
    with pytest.raises(ConfigError, match=what):
        train_many(base, (), [candidate], data.train, schedule=SCHEDULE, starts={records.digest(candidate): start})


def test_a_start_of_no_strength_is_refused(base: FrozenBase, data: Splits, pair: list[Graft]) -> None:
    start = joined(pair)
    start.set_strength(0.0)
    with pytest.raises(ConfigError, match="strength 0"):
        train_from(base, data, start)
