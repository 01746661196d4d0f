"""The length of a first step and the learning rate, searched for: what is tried, what is kept, and what is recorded."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from saint import config, records
from saint.composition import compose, measure_signals, newborn, place_of, wanted_signals
from saint.data import Splits
from saint.evaluation import measure_cost
from saint.grafts import Graft, History, Place
from saint.models import FrozenBase, token_nats
from saint.records import Candidate
from saint.training import Schedule, _birth, birth_tokens, train
from saint.training._first_step import SCALES, line_search, loss_on, take_first_step
from saint.training._rates import best_try, rate_tries

SEARCHED = [
    ("lora", {"rank": 2, "start": "gradient"}),
    ("lora", {"rank": 2, "start": "natural"}),
    ("phi", {"rank": 3, "basis": "gradient", "start": "least_squares"}),
]


def born(base: FrozenBase, data: Splits, kind: str, options: dict[str, Any]) -> tuple[Graft, dict[str, Place]]:
    sites = tuple(site for site in base.sites() if site.role in ("up", "o"))
    candidate = Candidate(sites=sites, kind=kind, options=options)
    signals = measure_signals(base, (), wanted_signals(candidate), [batch(data, 0)])
    places = {site.key: place_of(base, site, signals=signals.get(site.key)) for site in sites}
    return newborn(base, candidate, signals=signals), places


def batch(data: Splits, step: int) -> torch.Tensor:
    return data.train.batches(batch_size=16, seq_len=32, seed=0)[step]


class Dial:
    """Something whose score depends on one number."""

    def __init__(self, score: Callable[[float], float]) -> None:
        self.at, self._score = math.nan, score

    def turn(self, scale: float) -> None:
        self.at = scale

    def score(self) -> float:
        return self._score(self.at)


@pytest.mark.parametrize(
    ("score", "best"),
    [
        (lambda scale: (scale - 3) ** 2, 4.0),
        (lambda scale: scale, 0.0),
        (lambda scale: math.nan if scale > 4 else -scale, 4.0),
        (lambda scale: math.inf if scale > 0 else 5.0, 0.0),
        (lambda scale: 1.0, 0.0),  # noqa: ARG005 - of equals the first
        (lambda scale: math.nan, 0.0),  # noqa: ARG005
    ],
)
def test_the_best_scale_is_left_set(score: Callable[[float], float], best: float) -> None:
    dial = Dial(score)
    tried = line_search(dial.turn, dial.score, SCALES)
    assert dial.at == best
    assert tried == tuple((scale, score(scale)) for scale in SCALES if math.isfinite(score(scale)))


@pytest.mark.parametrize(("kind", "options"), SEARCHED, ids=str)
def test_the_step_is_as_long_as_text_wants_it(
    base: FrozenBase, data: Splits, kind: str, options: dict[str, Any]
) -> None:
    graft, places = born(base, data, kind, options)
    score = loss_on(compose(base, [graft]), [batch(data, 0)])
    before = float(token_nats(base.model, batch(data, 0)).mean())
    tried = dict(take_first_step(graft, places, score))
    assert list(tried) == list(SCALES)
    assert tried[0.0] == pytest.approx(before, abs=1e-6)
    assert min(tried.values()) < before  # of the very text that the step is from
    assert score() == min(tried.values())
    assert tried[1.0] < tried[0.0]  # eta = 0.01 is well within reach of the first order


def test_a_step_whose_length_is_given_keeps_it(base: FrozenBase, data: Splits) -> None:
    given = {"rank": 2, "start": "gradient", "eta": 0.02}
    graft, places = born(base, data, "lora", given)
    alone, _ = born(base, data, "lora", given)
    for key, part in alone.parts.items():
        part.begin(places[key])
    tried = take_first_step(graft, places, loss_on(compose(base, [graft]), [batch(data, 1)]))
    assert [scale for scale, _ in tried] == [1.0]
    assert graft.to_bytes() == alone.to_bytes()


def test_only_steps_that_are_open_are_made_longer(base: FrozenBase, data: Splits) -> None:
    options = {"rank": 2, "start": "gradient", "at": {"up": {"eta": 0.02}}}
    graft, places = born(base, data, "lora", options)
    alone, _ = born(base, data, "lora", options)
    for key, part in alone.parts.items():
        part.begin(places[key])
    take_first_step(graft, places, lambda: 0.0, scales=(4.0,))
    for site in graft.candidate.sites:
        longer, once = (one.parts[site.key].get_parameter("b") for one in (graft, alone))
        torch.testing.assert_close(longer, once if site.role == "up" else 4 * once)


def test_a_kind_without_a_first_step_stays_a_newborn_and_nothing_is_read(base: FrozenBase, data: Splits) -> None:
    graft, places = born(base, data, "lora", {"rank": 2})
    before = graft.to_bytes()

    def never() -> float:
        raise AssertionError("there is nothing to search for")

    assert take_first_step(graft, places, never) == ()
    assert graft.to_bytes() == before


def test_the_first_step_is_recorded_and_older_records_are_read() -> None:
    history = History(
        train_tokens=10, select_bpb=((10, 2.0),), best_tokens=10, time_s=1.0, first_step=((0.0, 3.0), (4.0, 2.5))
    )
    assert history.first_scale == 4.0
    assert config.build(records.to_plain(history), History, where="trained") == history
    older = {name: value for name, value in records.to_plain(history).items() if name != "first_step"}
    read = config.build(older, History, where="trained")
    assert read == replace(history, first_step=())
    assert read.first_scale is None


def test_the_same_candidate_is_tried_at_several_rates_and_the_best_is_kept(base: FrozenBase) -> None:
    candidate = Candidate(sites=base.sites()[:1], kind="lora", options={"rank": 2}, lr=0.03, seed=4)
    tries = rate_tries(candidate)
    assert [one.lr for one in tries] == pytest.approx([0.01, 0.03, 0.09])
    assert {replace(one, lr=0.03).seed for one in tries} == {4}
    assert all(replace(one, lr=0.03) == candidate for one in tries)

    def ended(*bpb: float) -> History:
        return History(train_tokens=9, select_bpb=tuple(enumerate(bpb)), best_tokens=9, time_s=0.0)

    assert best_try(tries, [ended(2.0, 1.9), ended(1.7, 1.8), ended(1.8)]) is tries[1]
    assert best_try(tries, [ended(2.0), ended(2.0), None]) is tries[0]
    assert best_try(tries, [ended(math.nan), None, ended(2.1)]) is tries[2]
    assert best_try(tries, [None, ended(), None]) is None


@pytest.mark.parametrize(("asked", "num_batches"), [(64, 2), (65, 3)])
def test_signals_are_measured_on_as_much_text_as_the_schedule_says(
    base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch, asked: int, num_batches: int
) -> None:
    site = min((site for site in base.sites() if site.role == "o"), key=lambda site: site.depth)
    candidate = Candidate(sites=(site,), kind="lora", options={"rank": 2, "start": "gradient"})
    schedule = Schedule(num_steps=1, batch_size=2, seq_len=16, evaluate_every=1, signal_tokens=asked)
    seen = []

    def measure(*args: Any) -> Any:
        seen.append(len(args[3]))
        return measure_signals(*args)

    monkeypatch.setattr(_birth, "measure_signals", measure)
    monkeypatch.setattr(_birth, "_TOKENS_PER_RANK", 0)  # no more for wide maps
    train(base, (), candidate, data.train, schedule=schedule)
    assert seen == [num_batches]


def test_a_schedule_of_the_usual_signals_is_known_as_before() -> None:
    assert "signal_tokens" not in Schedule().identity
    assert Schedule(signal_tokens=8192).identity["signal_tokens"] == 8192


@pytest.mark.parametrize(
    ("kind", "options", "num_batches"),
    [
        ("phi", {"rank": 2}, 0),
        ("phi", {"rank": 2, "basis": "gradient"}, 2),  # signals, and no step in closed form
        ("lora", {"rank": 2, "start": "gradient"}, 2 + 32),  # and 1,024 tokens for the length of the step
    ],
)
def test_what_a_graft_was_shown_before_it_learnt_is_counted(
    base: FrozenBase,
    data: Splits,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    options: dict[str, Any],
    num_batches: int,
) -> None:
    monkeypatch.setattr(_birth, "_TOKENS_PER_RANK", 0)
    site = next(site for site in base.sites() if site.role == "o")
    candidate = Candidate(sites=(site,), kind=kind, options=options)
    schedule = Schedule(num_steps=1, batch_size=2, seq_len=16, evaluate_every=1, signal_tokens=64)
    graft = train(base, (), candidate, data.train, schedule=schedule)
    assert graft.history is not None
    assert graft.history.birth_tokens == num_batches * 32 <= birth_tokens(candidate, schedule)
    assert graft.history.all_tokens == (num_batches + 1) * 32
    assert measure_cost(base, (), graft).train_tokens == graft.history.all_tokens, "so that controls get as many"
