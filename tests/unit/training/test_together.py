"""Candidates that share their passes come to what each comes to alone; losers stop; nothing is computed twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typing_extensions import override

from interrupting import StopsAfter
from saint.composition import PrefixCache, compose, newborn
from saint.data import Corpus, Splits
from saint.errors import ConfigError, Interrupted
from saint.models import FrozenBase
from saint.progress import Progress, Silent, Task
from saint.records import Candidate
from saint.testing import assert_base_untouched
from saint.training import (
    Part,
    Rung,
    Schedule,
    Search,
    SelectReader,
    Trained,
    Workspace,
    cache_of,
    halving,
    promote,
    train,
    train_many,
    train_part,
)
from saint.training._learn import Whole, learn
from saint.training._learner import Learner
from saint.training._together import Together

SCHEDULE = Schedule(num_steps=10, batch_size=4, seq_len=16, warmup=0.2, evaluate_every=5)
EXACT = Search(exact=True)


def candidates(base: FrozenBase) -> list[Candidate]:
    """Of several kinds, places, seeds and rates; three of them can be stacked."""
    [up, deep_up] = [site for site in base.sites() if site.role == "up"]
    down = next(site for site in base.sites() if site.role == "down" and site.depth == 1)
    head = next(site for site in base.sites() if site.role == "head")
    block = next(site for site in base.sites() if site.role == "block")
    lora = {"kind": "lora", "options": {"rank": 2}}
    return [
        Candidate(sites=(deep_up,), **lora, lr=0.01),
        Candidate(sites=(deep_up,), **lora, lr=0.03),
        Candidate(sites=(deep_up,), **lora, lr=0.03, seed=3),
        Candidate(sites=(down,), **lora, lr=0.03),
        Candidate(sites=(up, deep_up), kind="phi", options={"rank": 4, "basis": "gradient"}, lr=0.03),
        Candidate(sites=(head,), kind="phi", options={"rank": 4}, lr=0.03),
        Candidate(sites=(block,), kind="block", options={"width": 3}, lr=0.02),
    ]


def bytes_of(found: Sequence[Trained]) -> list[bytes]:
    return [one.graft.to_bytes() for one in found if one.graft is not None]


@pytest.mark.parametrize("max_cohort", [1, 8])
def test_together_each_comes_to_the_bits_it_comes_to_alone(base: FrozenBase, data: Splits, max_cohort: int) -> None:
    select = data.select["prose"]
    search = replace(EXACT, max_cohort=max_cohort)
    together = train_many(base, (), candidates(base), data.train, select=select, schedule=SCHEDULE, search=search)
    uncached = train_many(
        base,
        (),
        candidates(base),
        data.train,
        select=select,
        schedule=SCHEDULE,
        search=replace(search, cache_prefix=False),
    )
    for candidate, one, other in zip(candidates(base), together, uncached, strict=True):
        alone = train(base, (), candidate, data.train, select=select, schedule=SCHEDULE)
        assert one.graft is not None
        assert other.graft is not None
        assert one.candidate == candidate
        assert one.graft.to_bytes() == alone.to_bytes() == other.graft.to_bytes()
        assert one.graft.history is not None
        assert alone.history is not None
        assert one.graft.history.select_bpb == alone.history.select_bpb
    assert_base_untouched(base)


def test_where_sharing_a_pass_would_round_otherwise_each_is_trained_alone(
    base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for a processor on which wider passes round differently."""

    def rounds_otherwise(*args: Any, **kwargs: Any) -> Together:
        passes = Together(*args, **kwargs)
        exactly = passes.backward

        def backward(learners: Sequence[Learner]) -> None:
            exactly(learners)
            for parameter in (one for learner in learners if len(learners) > 1 for one in learner.learning.values()):
                assert parameter.grad is not None
                parameter.grad.mul_(1 + 1e-6)

        monkeypatch.setattr(passes, "backward", backward)
        return passes

    monkeypatch.setattr("saint.training._many.Together", rounds_otherwise)
    trio = candidates(base)[:3]
    found = train_many(base, (), trio, data.train, schedule=SCHEDULE, search=EXACT)
    alone = [train(base, (), candidate, data.train, schedule=SCHEDULE) for candidate in trio]
    assert bytes_of(found) == [graft.to_bytes() for graft in alone]


def test_stacked_parameters_round_and_no_more(base: FrozenBase, data: Splits) -> None:
    stacked = train_many(base, (), candidates(base)[:3], data.train, schedule=SCHEDULE, search=Search(exact=False))
    for candidate, one in zip(candidates(base), stacked, strict=False):
        assert one.graft is not None
        alone = train(base, (), candidate, data.train, schedule=SCHEDULE)
        for mine, theirs in zip(one.graft.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_on_a_stack_too(base: FrozenBase, data: Splits) -> None:
    standing = [train(base, (), candidates(base)[index], data.train, schedule=SCHEDULE) for index in (4, 6)]
    found = train_many(base, standing, candidates(base), data.train, schedule=SCHEDULE, search=EXACT)
    alone = [train(base, standing, candidate, data.train, schedule=SCHEDULE) for candidate in candidates(base)]
    assert bytes_of(found) == [graft.to_bytes() for graft in alone]


def test_one_that_runs_away_is_said_to_and_its_neighbours_are_untouched(base: FrozenBase, data: Splits) -> None:
    wild = [*candidates(base)]
    wild[1] = replace(wild[1], lr=3e38)
    found = train_many(base, (), wild, data.train, select=data.select["prose"], schedule=SCHEDULE, search=EXACT)
    calm = train_many(
        base, (), candidates(base), data.train, select=data.select["prose"], schedule=SCHEDULE, search=EXACT
    )
    assert found[1].graft is None
    assert "lower the learning rate" in found[1].failure
    assert bytes_of(found) == bytes_of([one for index, one in enumerate(calm) if index != 1])


def test_each_stops_by_itself(base: FrozenBase, data: Splits) -> None:
    rough = replace(SCHEDULE, num_steps=30, evaluate_every=2, patience=2)
    pair = [replace(candidates(base)[0], lr=lr) for lr in (3.0, 0.01)]
    found = train_many(base, (), pair, data.train, select=data.select["prose"], schedule=rough, search=EXACT)
    assert found[0].train_tokens < found[1].train_tokens
    alone = [train(base, (), one, data.train, select=data.select["prose"], schedule=rough) for one in pair]
    assert bytes_of(found) == [graft.to_bytes() for graft in alone]


RUNGS = Search(exact=True, rungs=(Rung(at=0.3, keep=0.5), Rung(at=0.6, keep=0.5)))


def test_losers_stop_at_a_rung_and_the_rest_is_as_without_one(base: FrozenBase, data: Splits) -> None:
    select = data.select["prose"]
    found = train_many(base, (), candidates(base), data.train, select=select, schedule=SCHEDULE, search=RUNGS)
    through = train_many(base, (), candidates(base), data.train, select=select, schedule=SCHEDULE, search=EXACT)
    assert sorted(one.train_tokens // SCHEDULE.tokens_per_step for one in found) == [3, 3, 3, 6, 6, 10, 10]
    for one, whole in zip(found, through, strict=True):
        if not one.stopped:
            assert bytes_of([one]) == bytes_of([whole])
        else:
            assert "went on" in one.stopped


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [5, 29])
def test_a_stopped_search_goes_on_to_the_same_bits(
    base: FrozenBase, data: Splits, tmp_path: Path, num_steps: int
) -> None:
    select = data.select["prose"]
    known = {
        candidate: tmp_path / f"{index}.safetensors" for index, candidate in enumerate(map(repr, candidates(base)))
    }

    def search(progress: Progress) -> list[Trained]:
        work = Workspace(checkpoint_of=lambda candidate: known[repr(candidate)], progress=progress)
        return train_many(
            base, (), candidates(base), data.train, select=select, schedule=SCHEDULE, search=RUNGS, work=work
        )

    with pytest.raises(Interrupted):
        search(StopsAfter(num_steps * SCHEDULE.tokens_per_step))
    resumed, again = search(Silent()), search(Silent())
    through = train_many(base, (), candidates(base), data.train, select=select, schedule=SCHEDULE, search=RUNGS)
    assert bytes_of(resumed) == bytes_of(through) == bytes_of(again)
    assert [one.stopped for one in resumed] == [one.stopped for one in through]


def test_learners_at_different_steps_meet_and_go_on(base: FrozenBase, data: Splits, tmp_path: Path) -> None:
    """As after a kill between two checkpoints."""
    pair = candidates(base)[:2]
    files = {repr(candidate): tmp_path / f"{candidate.lr}.safetensors" for candidate in pair}
    with pytest.raises(Interrupted):
        train(
            base,
            (),
            pair[0],
            data.train,
            schedule=SCHEDULE,
            checkpoint=files[repr(pair[0])],
            progress=StopsAfter(4 * SCHEDULE.tokens_per_step),
        )
    work = Workspace(checkpoint_of=lambda candidate: files[repr(candidate)])
    found = train_many(base, (), pair, data.train, schedule=SCHEDULE, search=EXACT, work=work)
    assert bytes_of(found) == bytes_of(train_many(base, (), pair, data.train, schedule=SCHEDULE, search=EXACT))


def deep(base: FrozenBase) -> list[Candidate]:
    return [one for one in candidates(base) if min(site.depth for site in one.sites) == 1]


def test_the_blocks_below_are_computed_once_for_each_window(base: FrozenBase, data: Splits) -> None:
    cache = PrefixCache()
    search, work = Search(max_cohort=1), Workspace(cache=cache)
    one_seed = [replace(candidate, seed=0) for candidate in deep(base)]
    train_many(base, (), one_seed[:1], data.train, schedule=SCHEDULE, search=search, work=work)
    assert cache.num_computed == SCHEDULE.num_steps * SCHEDULE.batch_size
    train_many(base, (), one_seed, data.train, schedule=SCHEDULE, search=search, work=work)
    assert cache.num_computed == SCHEDULE.num_steps * SCHEDULE.batch_size, "candidates share windows"


def test_windows_that_are_not_shifted_are_shared_by_epochs_and_seeds(base: FrozenBase, data: Splits) -> None:
    cache, candidate, text = PrefixCache(), deep(base)[0], data.train
    batches = text.batches(batch_size=32, seq_len=60, seed=0, shift=False)
    steps = 2 * batches.num_windows // 32 + 1
    schedule = replace(SCHEDULE, num_steps=steps, batch_size=32, seq_len=60, shift=False)
    for seed in range(2):
        own = replace(candidate, seed=seed)
        train_many(base, (), [own], text, schedule=schedule, work=Workspace(cache=cache))
    assert cache.num_computed <= batches.num_windows + 31, "but for windows of a batch that is partly known"


@pytest.mark.parametrize(("memory", "disk"), [(0, None), (40_000, 100_000), (0, 0)])
def test_what_does_not_fit_is_computed_again_and_said_so(
    base: FrozenBase, data: Splits, tmp_path: Path, memory: int, disk: int | None
) -> None:
    notes: list[str] = []

    class Listens(StopsAfter):
        def note(self, message: str) -> None:
            notes.append(message)

    limited = PrefixCache(memory_bytes=memory, disk_bytes=disk, folder=tmp_path, progress=Listens(10**9))
    found, whole = (
        train_many(
            base,
            (),
            deep(base),
            data.train,
            select=data.select["prose"],
            schedule=SCHEDULE,
            search=replace(EXACT, max_cohort=1),
            work=Workspace(cache=cache),
        )
        for cache in (limited, PrefixCache())
    )
    assert bytes_of(found) == bytes_of(whole)
    assert len(notes) == (disk is not None), "said once, if at all"
    assert not list(tmp_path.iterdir()), "the file has no name, so nothing is left by whoever is killed"
    limited.close()


def test_half_precision_in_the_cache_is_near(base: FrozenBase, data: Splits) -> None:
    select = data.select["prose"]
    rough, fine = (
        train_many(
            base,
            (),
            deep(base)[:1],
            data.train,
            select=select,
            schedule=SCHEDULE,
            work=Workspace(cache=cache_of(search)),
        )[0].graft
        for search in (Search(cache_dtype="bfloat16"), Search())
    )
    assert rough is not None
    assert fine is not None
    assert rough.history is not None
    assert fine.history is not None
    assert rough.history.best_bpb == pytest.approx(fine.history.best_bpb, abs=0.01)
    assert rough.to_bytes() != fine.to_bytes()


def test_what_one_stack_gives_is_not_taken_for_that_of_another(base: FrozenBase, data: Splits) -> None:
    cache, candidate = PrefixCache(), deep(base)[0]
    below = train(base, (), candidates(base)[6], data.train, schedule=SCHEDULE)  # changes what the first block gives
    for stack in ([], [below], []):
        [shared] = train_many(base, stack, [candidate], data.train, schedule=SCHEDULE, work=Workspace(cache=cache))
        assert bytes_of([shared]) == [train(base, stack, candidate, data.train, schedule=SCHEDULE).to_bytes()]


def test_a_rung_is_read_where_it_stands_and_never_later(base: FrozenBase, data: Splits, tmp_path: Path) -> None:
    """A survivor that is taken up far above a rung is held to what it was there."""
    graft = newborn(base, deep(base)[0])

    def learner() -> Learner:
        batches = data.train.batches(batch_size=4, seq_len=16, seed=0)
        weights = dict(graft.named_parameters())
        return Learner(weights, batches, SCHEDULE, of="a test", lr=0.1, checkpoint=tmp_path / "run.safetensors")

    first, passes = learner(), Whole(compose(base, [graft]), SCHEDULE)
    learn([first], passes, Silent(), until=3)
    there = first.at_rung(3, lambda: np.array([1.5, 2.5]))
    learn([first], passes, Silent(), until=6)
    again = learner()
    assert again.step == 6
    assert again.at_rung(3, lambda: np.array([9.0, 9.0])).tolist() == there.tolist()
    again.evaluate(lambda: np.array([0.5, 0.5]), lambda nats: float(nats.sum()))
    assert again.at_rung(6, lambda: pytest.fail("it was read a moment ago")).tolist() == [0.5, 0.5]
    learn([again], passes, Silent(), until=7)
    assert again.at_rung(7, lambda: np.array([0.25, 0.25])).tolist() == [0.25, 0.25], "its weights have moved since"


@pytest.mark.parametrize("lost", [False, True])
def test_in_parts_it_comes_to_the_bits_of_one_go(base: FrozenBase, data: Splits, tmp_path: Path, *, lost: bool) -> None:
    """Each part by its own learner, which is told where the one before ended; also where that has left nothing."""
    candidate, select, file = candidates(base)[4], data.select["prose"], tmp_path / "run.safetensors"
    counting = Counting()
    work = Workspace(checkpoint_of=lambda _: file, progress=counting)
    found = {}
    for since, until in ((0, 3), (3, 6), (6, None)):
        part = Part(candidate=candidate, since=since, until=until)
        told = {"select": select, "schedule": SCHEDULE, "search": RUNGS, "work": work}
        found[until] = train_part(base, (), part, data.train, **told)  # type: ignore[arg-type]
        if lost:
            file.unlink()
    through = train(base, (), candidate, data.train, select=select, schedule=SCHEDULE)
    last = found[None].trained
    assert last.graft is not None
    assert last.graft.to_bytes() == through.to_bytes()
    assert last.train_tokens == SCHEDULE.num_tokens
    assert counting.total == (19 if lost else 10) * SCHEDULE.tokens_per_step, "what is done again counts again"
    with closing(PrefixCache()) as cache:
        reader = SelectReader(base, (), select, SCHEDULE, cache=cache)
        for until in (3, 6):
            graft, nats = found[until].trained.graft, found[until].nats
            assert graft is not None
            assert nats is not None
            assert nats.tolist() == reader.nats(graft).tolist(), "as it stands, not as it was best"
    beyond = train_part(base, (), Part(candidate=candidate, until=6), data.train, **told)  # type: ignore[arg-type]
    assert beyond.nats is not None
    assert found[6].nats is not None
    assert beyond.nats.tolist() == found[6].nats.tolist(), "a checkpoint that is further is of no use"


class Counting(Progress):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.total = 0

    @override
    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        yield self

    def advance(self, amount: int) -> None:
        self.total += amount

    @override
    def note(self, message: str) -> None:
        raise AssertionError(message)


def test_rungs_without_development_text_are_refused(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(ConfigError, match="give select or no rungs"):
        train_many(base, (), deep(base), data.train, schedule=SCHEDULE, search=RUNGS)
    assert train_many(base, (), [], data.train, schedule=SCHEDULE) == []


@pytest.mark.parametrize("setting", [{"accumulate": 2}, {"recompute": True}, {"autocast": True}])
def test_other_ways_to_take_the_same_step(base: FrozenBase, data: Splits, setting: dict[str, bool]) -> None:
    pair = candidates(base)[:2]
    plain, other = (
        train_many(base, (), pair, data.train, schedule=replace(SCHEDULE, **changes)) for changes in ({}, setting)
    )
    tolerance = {"rtol": 0.2, "atol": 0.02} if "autocast" in setting else {"rtol": 1e-3, "atol": 1e-5}
    for one, same in zip(plain, other, strict=True):
        assert one.graft is not None
        assert same.graft is not None
        for mine, theirs in zip(one.graft.parameters(), same.graft.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, **tolerance)


def nats_of(select: Corpus, *losses: float) -> list[torch.Tensor]:
    return [select.num_bytes_each * loss for loss in losses]


def test_promotion_keeps_the_best_and_those_that_cannot_be_told_from_them(data: Splits) -> None:
    select = data.select["prose"]
    clear = nats_of(select, 3.0, 1.0, 2.0, 4.0)
    assert promote(clear, select.num_bytes_each, Rung(at=0.5, keep=0.5)) == [1, 2]
    assert promote(clear, select.num_bytes_each, Rung(at=0.5, keep=0.5, in_doubt=1.0)) == [1, 2]
    assert promote(clear, select.num_bytes_each, Rung(at=0.5, keep=0.01)) == [1]
    noisy = [*clear]
    noisy[3] = clear[2] * 1.05
    noisy[3][::2] *= 1.5
    noisy[3][1::2] *= 0.5
    assert promote(noisy, select.num_bytes_each, Rung(at=0.5, keep=0.5, in_doubt=0.5))[:2] == [1, 2]
    assert 3 in promote(noisy, select.num_bytes_each, Rung(at=0.5, keep=0.5, in_doubt=0.5))


def test_halving_grows_by_a_factor() -> None:
    assert [round(rung.at, 3) for rung in halving(eta=2.0, first=0.25, num=4)] == [0.25, 0.5]
    assert {rung.keep for rung in halving(eta=4.0, first=0.1)} == {0.25}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rung(at=1.0),
        lambda: Rung(at=0.5, keep=0.0),
        lambda: Search(max_cohort=0),
        lambda: Search(brackets=2),
        lambda: Search(rungs=(Rung(at=0.5), Rung(at=0.2))),
        lambda: Schedule(batch_size=4, accumulate=3),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_brackets_leave_out_the_first_rungs(base: FrozenBase, data: Splits) -> None:
    search = replace(RUNGS, brackets=2)
    found = train_many(
        base, (), candidates(base)[:4], data.train, select=data.select["prose"], schedule=SCHEDULE, search=search
    )
    steps = [one.train_tokens // SCHEDULE.tokens_per_step for one in found]
    assert sorted(steps[::2]) == [3, 10], "two candidates, both rungs"
    assert sorted(steps[1::2]) == [6, 10], "two candidates, the second rung"


def test_the_width_of_a_shared_pass_follows_what_fills_it() -> None:
    cpu = torch.device("cpu")
    assert Search().num_together(128, cpu) == 8
    assert Search().num_together(512, cpu) == 2
    assert Search().num_together(4096, cpu) == 1
    assert Search(max_cohort=64).num_together(1024, torch.device("cuda")) == 16
    assert Search(tokens_together=4096).num_together(1024, cpu) == 4
