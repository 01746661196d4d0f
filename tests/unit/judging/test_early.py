"""Stopping early: as valid as reading all, with fewer documents read, and found out where it was not honest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, log, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_up_text import GATES, Text, Weights, evidence
from saint import records
from saint.errors import DataError
from saint.judging import (
    Judging,
    Policy,
    _early as early_module,
    judge,
    must_suffice,
    read_losses,
    read_until_shown,
    replay_decisions,
    set_policy,
)
from saint.judging._early import all_shown_early, block_ends, stops_too_early_or_late, when_shown
from saint.judging._judge import write_losses
from saint.records import Claim, Decision, Outcome, Query, SuiteLosses
from saint.registry import Registry
from saint.testing import an_evidence

GAIN = Claim(gate="gain", suite="prose", above=0.0, clip=0.5, at_most_heavy=0.05)
KEPT = Claim(gate="retention", suite="code", against="base", above=-0.1, clip=0.5, at_most_heavy=0.05)
SIZE = 3000
EARLY = Policy(gates=GATES, judging=Judging(early_stopping=True))


def a_query(*claims: Claim, log_threshold: float = -log(0.05), size: int = SIZE) -> Query:
    return Query(
        number=1,
        num_passed=0,
        holdout="f" * 64,
        policy="p" * 64,
        graft="1" * 64,
        base="0" * 64,
        stack=(),
        log_threshold=log_threshold,
        claims=claims,
        num_documents={claim.suite: size for claim in claims},
        early_stopping=True,
    )


def costs(saved: Any) -> SuiteLosses:
    """Of documents that save so much each."""
    before = (0.0,) * len(saved)
    return SuiteLosses(unit="nats", documents="d", base=before, before=before, after=tuple((-np.array(saved)).tolist()))


@dataclass
class Pages:
    """Sealed text that counts what is read of it."""

    saved: Mapping[str, Any]
    read: list[tuple[str, int, int]] = field(default_factory=list)

    def __call__(self, suite: str, first: int, last: int) -> SuiteLosses:
        self.read.append((suite, first, last))
        return costs(self.saved[suite][first:last])

    def num_read(self, suite: str) -> int:
        return sum(last - first for name, first, last in self.read if name == suite)


def drawn(seed: int = 0, *, gain: float = 0.1, loss: float = 0.0) -> Pages:
    random = np.random.default_rng(seed)
    return Pages({"prose": random.normal(gain, 0.1, SIZE), "code": random.normal(-loss, 0.1, SIZE)})


@pytest.mark.parametrize("size", [2, 63, 64, 65, 200, 5000])
def test_blocks_grow_and_end_with_the_last_document(size: int) -> None:
    ends = block_ends(size)
    assert ends[-1] == size
    assert list(ends) == sorted(set(ends))
    assert all(later - one <= max(64, one // 4) for one, later in zip((0, *ends), ends, strict=False))


def test_a_good_graft_is_read_no_further_than_it_takes() -> None:
    pages, query = drawn(), a_query(GAIN, KEPT)
    found = read_until_shown(query, pages)
    assert all_shown_early(query, found)
    for claim in (GAIN, KEPT):
        place = when_shown(claim, found[claim.suite], query.log_threshold)
        assert place is not None
        assert place <= pages.num_read(claim.suite) <= place + max(64, place // 4)
    assert pages.num_read("prose") + pages.num_read("code") < 2 * SIZE / 10, "a tenth was enough"


def test_what_is_not_shown_is_read_whole_and_settles_the_rest() -> None:
    pages, query = drawn(gain=0.0), a_query(GAIN, KEPT)
    found = read_until_shown(query, pages)
    assert not all_shown_early(query, found)
    assert pages.num_read("prose") == SIZE
    assert pages.num_read("code") == 0, "the answer was no already"
    assert not stops_too_early_or_late(query, found)


@pytest.mark.parametrize("gain", [0.0, 0.008, 0.02, 0.1])
def test_the_answer_is_the_same_with_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    query, answers = a_query(GAIN), set()
    for each in (10, 64, 500, SIZE):
        monkeypatch.setattr(early_module, "block_ends", lambda num, each=each: (*range(each, num, each), num))
        answers.add(all_shown_early(query, read_until_shown(query, drawn(3, gain=gain))))
    assert len(answers) == 1


@pytest.mark.parametrize("shape", ["normal", "few large losses", "rare heavy harm"])
def test_stopping_at_will_errs_no_more_than_alpha(shape: str) -> None:
    draw: Mapping[str, Callable[[np.random.Generator], Any]] = {
        "normal": lambda random: random.normal(0, 0.1, 400),
        "few large losses": lambda random: 0.1 * (1 - random.exponential(1, 400)),
        "rare heavy harm": lambda random: np.where(random.random(400) < 0.05, -0.95, 0.05),  # the mean is 0
    }
    random, num = np.random.default_rng(11), 600
    false = sum(when_shown(GAIN, costs(draw[shape](random)), -log(0.05)) is not None for _ in range(num))
    assert false / num <= 0.05 + 3 * sqrt(0.05 * 0.95 / num)


def test_evidence_that_was_strong_enough_once_is_enough() -> None:
    saved = np.concatenate([np.full(150, 0.3), np.full(300, -0.3)])
    claim = replace(GAIN, at_most_heavy=1.0)
    place = when_shown(claim, costs(saved), -log(0.05))
    assert place is not None
    assert place < 20
    assert when_shown(claim, costs(saved[::-1]), -log(0.05)) is None


@pytest.mark.parametrize("wrong", [nan, inf, -inf])
def test_what_is_no_number_is_never_shown(wrong: float) -> None:
    saved = np.full(300, 0.2)
    assert when_shown(GAIN, costs(saved), -log(0.05)) is not None
    saved[-1] = wrong
    assert when_shown(GAIN, costs(saved), -log(0.05)) is None
    query = a_query(GAIN, size=300)
    assert not all_shown_early(query, {"prose": costs(saved)})


def test_a_rate_is_shown_as_soon_as_it_is() -> None:
    claim = Claim(gate="safety", suite="prose", test="rate", above=0.05)
    losses = costs(np.zeros(SIZE))
    assert when_shown(claim, losses, -log(0.05)) == pytest.approx(59, rel=0.15), "the binomial test takes 59"
    all_of_them = costs(-np.ones(SIZE))
    assert when_shown(claim, all_of_them, -log(0.05)) is None


@dataclass
class Slow(Text):
    """Sealed text that is read as far as it has to be."""

    num_read: dict[str, int] = field(default_factory=dict)

    def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
        whole = super().measure(query)

        def read(suite: str, first: int, last: int) -> SuiteLosses:
            self.num_read[suite] = last
            one, places = whole[suite], slice(first, last)
            return replace(one, base=one.base[places], before=one.before[places], after=one.after[places])

        return read_until_shown(query, read)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path / "registry")
    gates = {**GATES, "gain": {"at_least_bpb": 0.05, "at_most_heavy": 0.04}}
    gates["retention"] = {"at_most_bpb": 0.1, "at_most_heavy": 0.04}
    set_policy(made, replace(EARLY, gates=gates))
    return made


def judged(registry: Registry, text: Text) -> Decision:
    decision = judge(registry, evidence(), text)
    registry.record(Weights(), evidence(), decision)
    return decision


def test_a_query_that_stopped_early_is_worked_out_again(registry: Registry) -> None:
    text = Slow()
    decision = judged(registry, text)
    assert decision.passed
    assert text.num_read == {"prose": 125, "code": 125}, "of 200 each"
    found = replay_decisions(registry)
    assert found.problems == ()
    assert found.num_queries == 1


def test_one_that_was_not_shown_is_worked_out_again(registry: Registry) -> None:
    text = Slow(gain=0.0)
    assert not judged(registry, text).passed
    assert text.num_read == {"prose": 200}
    assert replay_decisions(registry).problems == ()


def test_how_much_was_read_is_in_no_entry(registry: Registry) -> None:
    text = Slow()
    judged(registry, text)
    spelled = records.to_canonical([event.body for event in registry.ledger])
    assert "125" not in spelled.replace(Weights().digest, "")


def test_whoever_reads_on_shows_nothing(registry: Registry) -> None:
    assert not judge(registry, evidence(), Text()).passed, "it read all, and had to stop"


def _cut(losses: SuiteLosses, num: int) -> SuiteLosses:
    return replace(losses, base=losses.base[:num], before=losses.before[:num], after=losses.after[:num])


FORGERIES: Mapping[str, Callable[[dict[str, SuiteLosses]], dict[str, SuiteLosses]]] = {
    "stops before it is shown": lambda read: {**read, "prose": _cut(read["prose"], 64)},
    "stops between blocks": lambda read: {**read, "prose": _cut(read["prose"], 123)},
    "leaves out a suite": lambda read: {"prose": read["prose"]},
    "chooses the first documents": lambda read: {
        **read,
        "prose": costs(sorted(np.subtract(read["prose"].before, read["prose"].after), reverse=True)[:100]),
    },
    "has fewer of one stack": lambda read: {**read, "prose": replace(read["prose"], base=read["prose"].base[:-1])},
}


@pytest.mark.parametrize("how", FORGERIES)
@pytest.mark.parametrize("says_passed", [True, False])
def test_a_forged_early_stop_is_found(registry: Registry, how: str, *, says_passed: bool) -> None:
    decision = judge(registry, evidence(), Slow())
    read = read_losses(registry.payload(decision.losses))
    forged = registry.store.put(write_losses(FORGERIES[how](read)))
    outcome = Outcome.ACCEPT if says_passed else Outcome.DEFER
    verdicts = tuple(replace(one, outcome=outcome) for one in decision.verdicts)
    registry.record(Weights(), evidence(), replace(decision, verdicts=verdicts, passed=says_passed, losses=forged))
    [problem] = replay_decisions(registry).problems
    assert "not read until just after all was shown" in problem


def test_a_query_that_reads_on_after_all_was_shown_is_found(registry: Registry) -> None:
    decision = judge(registry, evidence(), Slow())
    query = decision.query
    assert query is not None
    forged = registry.store.put(write_losses(Text().measure(query)))
    registry.record(Weights(), evidence(), replace(decision, losses=forged))
    assert replay_decisions(registry).problems


def test_a_query_that_may_stop_early_by_no_policy_is_found(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry")
    set_policy(registry, Policy(gates=GATES))
    query = a_query(GAIN)
    registry.write("queried", replace(query, policy=Policy(gates=GATES).digest))  # type: ignore[arg-type]
    assert any("stop early" in problem for problem in replay_decisions(registry).problems)


def test_text_that_is_just_long_enough_without_is_too_short_with_it() -> None:
    policy, sizes = Policy(gates=GATES), {"prose": 500, "code": 198}
    must_suffice(policy, sizes, grown="prose")
    with pytest.raises(DataError, match="takes 216"):
        must_suffice(replace(policy, judging=Judging(early_stopping=True)), sizes, grown="prose")


def test_without_the_option_nothing_is_spelled_otherwise(tmp_path: Path) -> None:
    """Policies and queries that are on disk keep their digests, and those written now say nothing of it."""
    registry = Registry.open(tmp_path / "registry")
    set_policy(registry, Policy(gates=GATES))
    decision = judge(registry, an_evidence(graft=Weights().digest), Text())
    spelled = records.to_canonical([*(event.body for event in registry.ledger), decision])
    assert "early_stopping" not in spelled
    known = "b920eaf893b71bf9dc4b4ccddf8893771cb6d0807e6893634d5380550f3ee72c"
    assert Policy(gates=GATES).digest == known, "as it was before there was the option"
    assert "early_stopping" in records.to_canonical(EARLY)
