"""Training against a plain loop written out here, and its promises: same weights, resumable, best state kept."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch
from torch import nn
from torch.nn import functional as F

from interrupting import StopsAfter
from saint.composition import compose, newborn, probe_logits
from saint.data import Splits
from saint.errors import ConfigError, DivergedError, Interrupted
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Candidate
from saint.testing import assert_base_untouched
from saint.training import BasePlan, Schedule, continue_training, pretrain, time_in, train
from saint.training._learn import Development, Whole, learn
from saint.training._learner import Learner

SCHEDULE = Schedule(num_steps=10, batch_size=4, seq_len=16, warmup=0.2, evaluate_every=5)


def phi_everywhere(base: FrozenBase, lr: float = 0.02) -> Candidate:
    sites = tuple(site for site in base.sites() if site.sort == "linear")
    return Candidate(sites=sites, kind="phi", options={"rank": 4}, lr=lr, seed=5)


def test_it_does_what_a_plain_loop_does(base: FrozenBase, data: Splits) -> None:
    trained = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE)

    graft = newborn(base, phi_everywhere(base))
    model, parameters = compose(base, [graft]), list(graft.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=0.02, betas=(SCHEDULE.beta1, SCHEDULE.beta2), weight_decay=SCHEDULE.weight_decay
    )
    batches = data.train.batches(batch_size=4, seq_len=16, seed=5)
    for step in range(10):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 2)
            done = max(0.0, (step - 2) / 8)
            cosine = SCHEDULE.final_lr + (1 - SCHEDULE.final_lr) * (1 + math.cos(math.pi * done)) / 2
            group["lr"] = 0.02 * (warm if step < 2 else cosine)
        tokens = batches[step]
        logits = model(input_ids=tokens[:, :-1]).logits
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(parameters, SCHEDULE.clip_norm)
        optimizer.step()
    for one, other in zip(trained.parameters(), parameters, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-3, atol=1e-5)


def test_the_same_arguments_give_the_same_bytes(base: FrozenBase, data: Splits) -> None:
    one, other = (train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE) for _ in range(2))
    assert one.to_bytes() == other.to_bytes()


def test_only_the_new_graft_learns(base: FrozenBase, data: Splits) -> None:
    below = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE)
    before = below.to_bytes()
    above = train(base, [below], phi_everywhere(base), data.train, schedule=SCHEDULE)
    assert below.to_bytes() == before
    assert above.to_bytes() != before
    assert_base_untouched(base)


@pytest.mark.parametrize("num_steps", [0, 1, 4, 5, 7])
def test_a_stopped_run_goes_on_to_the_same_bits(base: FrozenBase, data: Splits, tmp_path: Path, num_steps: int) -> None:
    candidate, checkpoint = phi_everywhere(base), tmp_path / "run.safetensors"
    select = data.select["prose"]
    through = train(base, (), candidate, data.train, select=select, schedule=SCHEDULE)
    with pytest.raises(Interrupted):
        train(
            base,
            (),
            candidate,
            data.train,
            select=select,
            schedule=SCHEDULE,
            checkpoint=checkpoint,
            progress=StopsAfter(num_steps * SCHEDULE.tokens_per_step),
        )
    assert checkpoint.exists() == (num_steps > 0)
    resumed = train(base, (), candidate, data.train, select=select, schedule=SCHEDULE, checkpoint=checkpoint)
    assert resumed.to_bytes() == through.to_bytes()
    assert resumed.history is not None
    assert through.history is not None
    assert resumed.history.select_bpb == through.history.select_bpb
    stored = train(base, (), candidate, data.train, select=select, schedule=SCHEDULE, checkpoint=checkpoint)
    assert stored.to_bytes() == through.to_bytes(), "what came of a run stays until its caller has stored it"


def test_a_checkpoint_of_another_run_is_not_taken_up(base: FrozenBase, data: Splits, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.safetensors"
    stop = StopsAfter(3 * SCHEDULE.tokens_per_step)
    with pytest.raises(Interrupted):
        train(
            base, (), phi_everywhere(base, lr=0.5), data.train, schedule=SCHEDULE, checkpoint=checkpoint, progress=stop
        )
    fresh = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE)
    again = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE, checkpoint=checkpoint)
    assert again.to_bytes() == fresh.to_bytes()


def test_a_checkpoint_of_another_shape_or_stack_is_not_taken_up(base: FrozenBase, data: Splits, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.safetensors"
    sites = tuple(site for site in base.sites() if site.role == "up")
    narrow, wide = (Candidate(sites=sites, kind="lora", options={"rank": rank}) for rank in (1, 2))
    below = train(base, (), narrow, data.train, schedule=SCHEDULE, checkpoint=checkpoint)
    fresh = train(base, (), wide, data.train, schedule=SCHEDULE)
    assert train(base, (), wide, data.train, schedule=SCHEDULE, checkpoint=checkpoint).to_bytes() == fresh.to_bytes()
    above = train(base, [below], wide, data.train, schedule=SCHEDULE)
    assert (
        train(base, [below], wide, data.train, schedule=SCHEDULE, checkpoint=checkpoint).to_bytes() == above.to_bytes()
    )


def without(content: bytes, name: str) -> bytes:
    tensors = safetensors_torch.load(content)
    position = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return safetensors_torch.save({n: t for n, t in tensors.items() if not n.startswith(name)}, position)


def elsewhere(content: bytes, **told: object) -> bytes:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    position = json.dumps({**json.loads(header["position"]), **told})
    return safetensors_torch.save(safetensors_torch.load(content), {"position": position})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:1000],
        lambda _: safetensors_torch.save({"now": torch.ones(1)}),
        lambda _: safetensors_torch.save({"now": torch.ones(1)}, {"position": "[]"}),
        lambda content: without(content, "best"),
        lambda content: without(content, "exp_avg_sq"),
        lambda content: content.replace(b'\\"num_worse\\":', b'\\"num_wurst\\":'),
        lambda content: elsewhere(content, best_step=-1),
        lambda _: safetensors_torch.save({"now": torch.ones(1)}, {"position": '"here"'}),
        lambda _: safetensors_torch.save({"now": torch.ones(1)}, {"position": "[" * 100_000}),
        lambda content: elsewhere(content, evaluations=[[math.inf, 1.0]]),
        lambda content: elsewhere(content, evaluations=[[5, math.nan]]),
        lambda content: elsewhere(content, rungs=[]),
    ],
)
def test_a_checkpoint_that_was_cut_off_or_is_none_is_left_alone(
    base: FrozenBase, data: Splits, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    checkpoint = tmp_path / "run.safetensors"
    whole = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE, checkpoint=checkpoint)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(spoil(content))
    assert checkpoint.read_bytes() != content
    again = train(base, (), phi_everywhere(base), data.train, schedule=SCHEDULE, checkpoint=checkpoint)
    assert again.to_bytes() == whole.to_bytes()
    assert time_in(checkpoint) > 0
    assert time_in(tmp_path / "none") == 0


def test_the_best_state_on_select_is_kept_and_training_stops_early(base: FrozenBase, data: Splits) -> None:
    rough = Schedule(num_steps=40, batch_size=4, seq_len=16, warmup=0.5, evaluate_every=2, patience=3)
    graft = train(base, (), phi_everywhere(base, lr=3.0), data.train, select=data.select["prose"], schedule=rough)
    history = graft.history
    assert history is not None
    assert history.train_tokens < rough.num_tokens, "it should have stopped early"
    assert history.best_tokens < history.train_tokens
    assert dict(history.select_bpb)[history.best_tokens] == history.best_bpb

    from saint.evaluation import Losses

    select = data.select["prose"]
    nats = Losses(seq_len=16).of(base, [graft], select).sum()
    assert nats / math.log(2) / select.num_bytes == pytest.approx(history.best_bpb, rel=1e-5)


def test_running_away_is_an_error_and_not_a_graft(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train(base, (), phi_everywhere(base, lr=1e30), data.train, schedule=SCHEDULE)


def test_full_training_moves_a_copy(base: FrozenBase, data: Splits) -> None:
    before = probe_logits(base.model)
    model, history = continue_training(base, data.train, lr=0.01, schedule=SCHEDULE)
    assert not torch.equal(probe_logits(model), before)
    assert torch.equal(probe_logits(base.model), before)
    assert history.train_tokens == SCHEDULE.num_tokens
    assert_base_untouched(base)


def test_the_rate_warms_up_and_falls_as_a_cosine() -> None:
    schedule = Schedule(num_steps=100, warmup=0.1, final_lr=0.2)
    shares = [schedule.lr_share(step) for step in range(100)]
    assert shares[9] == pytest.approx(1.0)
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[55] == pytest.approx(0.6, abs=0.01), "half-way down"
    assert shares[99] == pytest.approx(0.2, abs=0.01)


def test_pretraining_learns_and_gives_the_same_model_again(data: Splits) -> None:
    model = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    schedule = Schedule(num_steps=30, batch_size=8, seq_len=16, evaluate_every=15)
    plan = BasePlan(domain="code", model=model, lr=0.01, schedule=schedule)
    one, history = pretrain(plan, data.tokenizer, data.of("code", "train"), select=data.select["code"])
    other, _ = pretrain(plan, data.tokenizer, data.of("code", "train"), select=data.select["code"])
    assert torch.equal(probe_logits(one), probe_logits(other))
    first, last = history.select_bpb[0][1], history.select_bpb[-1][1]
    assert last < first
    assert last < math.log2(300), "better than a guess over the vocabulary for each byte"


def test_an_encoder_decoder_can_be_trained_from_nothing(data: Splits) -> None:
    model = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    schedule = Schedule(num_steps=20, batch_size=4, seq_len=16, evaluate_every=10)
    plan = BasePlan(architecture="t5", model=model, domain="code", lr=0.02, schedule=schedule)
    made, history = pretrain(plan, data.tokenizer, data.of("code", "train"), select=data.select["code"])
    assert made.config.is_encoder_decoder
    (_, first), (_, last) = history.select_bpb
    assert last < first
    assert made.generate(torch.tensor([[0, 5]]), max_new_tokens=3, min_new_tokens=3, pad_token_id=0).shape == (1, 4)


@pytest.mark.parametrize("interface", ["binary", "glyph"])
def test_a_layered_decoder_learns_above_a_table_that_does_not(data: Splits, interface: str) -> None:
    model = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "interface": interface}
    if interface == "glyph":
        pytest.importorskip("PIL", reason="Pillow, or another font, is needed to draw tokens")
        model["interface_options"] = {"max_missing": 1.0, "max_collisions": 1.0}
    schedule = Schedule(num_steps=30, batch_size=8, seq_len=16, evaluate_every=15)
    plan = BasePlan(architecture="saint_layered", model=model, domain="code", lr=0.01, schedule=schedule)
    made, history = pretrain(plan, data.tokenizer, data.of("code", "train"), select=data.select["code"])
    assert history.select_bpb[-1][1] < history.select_bpb[0][1]
    made.check_interface()  # type: ignore[operator]


def test_an_unknown_architecture_is_refused(data: Splits) -> None:
    with pytest.raises(ConfigError, match="lama"):
        pretrain(BasePlan(domain="code", architecture="lama"), data.tokenizer, data.of("code", "train"))


FADED = replace(SCHEDULE, fade_in=0.6)


def test_a_fade_rises_in_a_line_from_its_first_share_to_one() -> None:
    assert [FADED.strength(step) for step in range(10)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, *[1.0] * 5]
    )
    assert {SCHEDULE.strength(step) for step in range(10)} == {1.0}
    assert "fade_in" not in SCHEDULE.identity, "ledgers from before there were fades know schedules by the rest"
    assert FADED.identity["fade_in"] == 0.6


def test_a_graft_fades_in_from_the_identity_and_is_read_at_full_strength(
    base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    graft = newborn(base, phi_everywhere(base))
    assert torch.equal(probe_logits(compose(base, [graft])), probe_logits(compose(base, [])))
    model = compose(base, [graft])
    schedule = replace(FADED, num_steps=5, evaluate_every=1, fade_in=1.0)
    learner = Learner(
        dict(graft.named_parameters()),
        data.train.batches(batch_size=4, seq_len=16, seed=5),
        schedule,
        of="a test",
        lr=0.02,
        strengthen=graft.set_strength,
    )
    select = data.select["prose"]
    passes = Whole(model, schedule)
    nats = np.ones(select.num_documents)
    monkeypatch.setattr("saint.training._learn._nats", lambda *_: seen.append(graft.strength) or nats)
    model.register_forward_pre_hook(lambda *_: seen.append(graft.strength))
    assert all(part.phi.abs().sum() == 0 for part in graft.parts.values())
    learn([learner], passes, Silent(), development=Development(select, schedule, torch.device("cpu")))
    learner.finish(keep_best=True)
    assert all(part.phi.abs().sum() > 0 for part in graft.parts.values())
    assert seen == pytest.approx([0.2, 1.0, 0.4, 1.0, 0.6, 1.0, 0.8, 1.0])  # the score does not fall: patience is 3
    assert graft.strength == 1.0


@pytest.mark.parametrize("num_steps", [1, 5])
def test_a_run_that_stops_while_it_fades_in_goes_on_to_the_same_bits(
    base: FrozenBase, data: Splits, tmp_path: Path, num_steps: int
) -> None:
    candidate, checkpoint, select = phi_everywhere(base), tmp_path / "run.safetensors", data.select["prose"]
    through = train(base, (), candidate, data.train, select=select, schedule=FADED)
    stop = StopsAfter(num_steps * FADED.tokens_per_step)
    with pytest.raises(Interrupted):
        train(base, (), candidate, data.train, select=select, schedule=FADED, checkpoint=checkpoint, progress=stop)
    resumed = train(base, (), candidate, data.train, select=select, schedule=FADED, checkpoint=checkpoint)
    assert resumed.to_bytes() == through.to_bytes()
    assert resumed.history is not None
    assert through.history is not None
    assert resumed.history.select_bpb == through.history.select_bpb
    assert through.to_bytes() != train(base, (), candidate, data.train, select=select, schedule=SCHEDULE).to_bytes()


def test_a_whole_base_cannot_fade_in(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(ConfigError, match="fade_in"):
        continue_training(base, data.train, lr=1e-3, schedule=FADED)
