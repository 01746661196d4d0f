"""The state that is kept and advanced is the state that a replay from the first entry gives."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from made_up_history import History, an_event
from saint.errors import LedgerError
from saint.registry import Event, Registry, State, replay
from saint.registry._changes import change_of
from saint.registry._present import Present

seeds = strategies.integers(0, 2**32 - 1)


def a_past(seed: int, num_events: int) -> list[Event]:
    history, past, state = History(seed), list[Event](), State()
    for number in range(num_events):
        past.append(an_event(number, *history.next(state)))
        change_of(state, past[-1])()
    return past


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_what_is_kept_is_a_replay_and_snapshots_stay_as_they_were(seed: int) -> None:
    history, past, present, kept = History(seed), list[Event](), Present(), list[tuple[State, State]]()
    for number in range(40):
        state = present.after(past)
        if history.random.random() < 0.4:
            taken = state.snapshot()
            kept.append((taken, copy.deepcopy(taken)))
        with pytest.raises(LedgerError):
            present.must_precede(past, an_event(number, *history.wrong(state)))
        event = an_event(number, *history.next(state))
        present.must_precede(past, event)  # as a writer asks who then loses the race for the number
        assert number % 5 or present.after(past) == replay(past)
        past.append(event)
    assert present.after(past) == replay(past)
    assert all(taken == as_it_was for taken, as_it_was in kept)


@settings(max_examples=6, deadline=None)
@given(seed=seeds, num_common=strategies.integers(0, 20))
def test_another_past_is_seen_as_one(seed: int, num_common: int) -> None:
    one, present = a_past(seed, 25), Present()
    present.after(one)
    other = [*one[:num_common], *(an_event(number, "noted", {"row": "other"}) for number in range(num_common, 30))]
    for past in (other, one, one[:num_common], []):
        assert present.after(past) == replay(past)


def test_an_interrupted_change_is_made_again_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    past, present = a_past(7, 40), Present()
    present.after(past[:30])
    own = State.own

    def interrupted(self: State, member: str) -> object:
        own(self, member)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "own", interrupted)
        with pytest.raises(KeyboardInterrupt):
            present.after(past)
    assert present.after(past) == replay(past)


def test_a_registry_says_what_a_replay_says_whoever_writes(tmp_path: Path) -> None:
    history, writers = History(11), [Registry.open(tmp_path), Registry.open(tmp_path)]
    for number in range(60):
        writer = history.random.choice(writers)
        name, body = history.next(writer.state)
        writer.write(name, body)
        assert writer.state == replay(writer.ledger), number
        name, body = history.wrong(writer.state)
        with pytest.raises(LedgerError):
            writer.write(name, body)
    fresh = Registry.open(tmp_path)
    assert [writer.state for writer in writers] == [fresh.state] * 2
    assert len(fresh.ledger.events()) == 60
