"""The plain search, which everything faster is held against, does what `saint.train` and `saint.evaluate` do."""

from dataclasses import replace

import pytest

from saint.data import Splits
from saint.evaluation import Losses, evaluate
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate
from saint.testing import assert_base_untouched, naive_round, naive_train
from saint.training import Schedule, train

SCHEDULE = Schedule(num_steps=8, batch_size=4, seq_len=16, warmup=0.25, evaluate_every=4)


def at_role(base: FrozenBase, role: str, kind: str = "lora", *, lr: float = 0.03, **options: object) -> Candidate:
    sites = tuple(site for site in base.sites() if site.role == role)
    return Candidate(sites=sites, kind=kind, options={"rank": 2, **options}, lr=lr, seed=3)


def same(one: Graft, other: Graft) -> bool:
    assert one.history is not None
    assert other.history is not None
    for (step, bpb), (other_step, other_bpb) in zip(one.history.select_bpb, other.history.select_bpb, strict=True):
        assert step == other_step
        assert bpb == pytest.approx(other_bpb, rel=1e-7), "scored in batches of another size"
    assert one.history.train_tokens == other.history.train_tokens
    assert one.history.best_tokens == other.history.best_tokens
    return one.to_bytes() == other.to_bytes()


@pytest.mark.parametrize(
    ("kind", "options"), [("lora", {}), ("phi", {}), ("phi", {"basis": "gradient"}), ("block", {"width": 4})]
)
def test_the_plain_loop_agrees_with_training_to_the_bit(
    base: FrozenBase, data: Splits, kind: str, options: dict[str, object]
) -> None:
    role = "block" if kind == "block" else "down"
    candidate = at_role(base, role, kind, **options)
    if kind == "block":
        candidate = replace(candidate, options=options)
    told = {"select": data.select["prose"], "schedule": SCHEDULE}
    standing = train(base, (), at_role(base, "v"), data.train, schedule=SCHEDULE)

    plain = naive_train(base, [standing], candidate, data.train, **told)

    assert same(plain, train(base, [standing], candidate, data.train, **told))
    assert plain.num_params
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert_base_untouched(base)


def test_the_plain_loop_stops_early_and_keeps_the_best_as_training_does(base: FrozenBase, data: Splits) -> None:
    candidate = at_role(base, "down", lr=3.0)  # far too high: the loss on select rises
    told = {"select": data.select["prose"], "schedule": replace(SCHEDULE, evaluate_every=1, patience=1, warmup=0.0)}

    plain = naive_train(base, (), candidate, data.train, **told)

    assert plain.history is not None
    assert plain.history.train_tokens < SCHEDULE.num_tokens
    assert same(plain, train(base, (), candidate, data.train, **told))


def test_a_schedule_that_fades_in_is_followed(base: FrozenBase, data: Splits) -> None:
    told = {"select": data.select["prose"], "schedule": replace(SCHEDULE, fade_in=0.5)}

    plain = naive_train(base, (), at_role(base, "down"), data.train, **told)

    assert same(plain, train(base, (), at_role(base, "down"), data.train, **told))


def test_a_plain_round_measures_each_candidate_as_evaluation_does(base: FrozenBase, data: Splits) -> None:
    candidates = [at_role(base, "down"), at_role(base, "v"), at_role(base, "up")]

    trials = naive_round(
        base,
        (),
        candidates,
        data.train,
        select=data.select["prose"],
        held_out=data.held_out,
        retain=data.retain,
        schedule=SCHEDULE,
    )

    assert {trial.graft.candidate.sites[0].role for trial in trials} == {"down", "v", "up"}
    assert [trial.select_bpb for trial in trials] == sorted(trial.select_bpb for trial in trials)
    losses = Losses(seq_len=SCHEDULE.seq_len)
    for trial in trials:
        evidence = evaluate(
            base, (), trial.graft, {"prose": data.held_out, **data.retain}, grown="prose", losses=losses
        )
        assert trial.gain_bpb.estimate == pytest.approx(evidence.gain_bpb.estimate, abs=1e-6)
        assert trial.regression_bpb["code"].estimate == pytest.approx(
            evidence.regression_bpb["code"].estimate, abs=1e-6
        )
