"""Several processes that train together come to what one comes to, with a whole base and with one that is divided."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from in_step import in_step
from interrupting import StopsAfter
from saint.composition import Prefix, PrefixCache, compose, newborn
from saint.data import Splits
from saint.errors import BaseChangedError, ConfigError, Interrupted, ProcessGoneError, WorkerError
from saint.models import Divided, FrozenBase
from saint.progress import Progress, Silent
from saint.records import Candidate
from saint.testing import tiny_base, tiny_splits
from saint.training import Division, Processes, Schedule, Workspace, continue_training, train_many

SCHEDULE = Schedule(num_steps=4, batch_size=4, seq_len=16, warmup=0.2, evaluate_every=4, accumulate=2)

pytestmark = [pytest.mark.distributed, pytest.mark.skipif(sys.platform != "linux", reason="forks its processes")]


def candidates(base: FrozenBase) -> list[Candidate]:
    """LoRA, a residual block, a kind born from gradients with a step in closed form, and one that comes to nothing."""
    up = next(site for site in base.sites() if site.role == "up")
    block = next(site for site in base.sites() if site.role == "block" and site.depth == 1)
    return [
        Candidate(sites=(up,), kind="lora", options={"rank": 2}, lr=0.03),
        Candidate(sites=(block,), kind="block", options={"width": 3}, lr=0.02),
        Candidate(sites=(up,), kind="phi", options={"rank": 4, "basis": "gradient"}, lr=0.03),
        Candidate(sites=(up,), kind="lora", options={"rank": 2}, lr=1e38),
    ]


def trained(
    data: Splits,
    processes: Processes,
    *,
    fsdp: bool = False,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Any:
    """The bytes of each graft, how it learnt or why it did not, and the digest of the base, in one process."""
    base = tiny_base(data.tokenizer)
    if fsdp:
        Division(base, processes)
    wanted = candidates(base)
    places = {candidate.lr: folder and folder / f"{index}" for index, candidate in enumerate(wanted)}
    work = Workspace(
        processes=processes, progress=progress or Silent(), checkpoint_of=lambda candidate: places[candidate.lr]
    )
    found = train_many(base, (), wanted[:2] + wanted[3:] if folder else wanted, data.train,
                       select=data.select["prose"], schedule=SCHEDULE, work=work)  # fmt: skip
    base.check()
    return [
        (
            one.failure,
            one.graft and one.graft.to_bytes(),
            one.graft and one.graft.history and one.graft.history.select_bpb,
        )
        for one in found
    ], base.digest


@pytest.fixture(scope="module")
def alone() -> Any:
    """What one process comes to."""
    [found] = in_step(1, partial(trained, tiny_splits()))
    return found


@pytest.mark.parametrize("fsdp", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_come_to_what_one_comes_to(data: Splits, alone: Any, *, fsdp: bool) -> None:
    """Of two terms the sum has one order, so that nothing is rounded otherwise."""
    first, second = in_step(2, partial(trained, data, fsdp=fsdp))
    assert first == second
    assert first == alone
    failures = [failure for failure, *_ in first[0]]
    assert failures[:3] == ["", "", ""]
    assert "lower the learning rate" in failures[3]


def test_three_processes_come_close(data: Splits) -> None:
    def work(processes: Processes) -> Any:
        base = tiny_base(data.tokenizer)
        schedule = Schedule(num_steps=4, batch_size=6, seq_len=16, evaluate_every=4, accumulate=3)
        model, history = continue_training(
            base, data.train, lr=0.01, select=data.select["prose"], schedule=schedule, processes=processes
        )
        return [parameter.numpy() for parameter in model.parameters()], [*history.select_bpb]

    [(weights, curve)] = in_step(1, work)
    several = in_step(3, work)
    for theirs, other in several:
        assert other == several[0][1]
        assert other == [(step, pytest.approx(bpb, rel=1e-6)) for step, bpb in curve]
        for one, another, same in zip(weights, theirs, several[0][0], strict=True):
            assert (another == same).all()
            assert another == pytest.approx(one, abs=1e-5)


def test_a_stop_stops_both_and_both_go_on_from_the_first_ones_checkpoint(
    data: Splits, alone: Any, tmp_path: Path
) -> None:
    def work(processes: Processes) -> Any:
        folder = tmp_path / "work" if processes.is_first else tmp_path / "nobody"
        stops = StopsAfter(2 * SCHEDULE.tokens_per_step) if processes.is_first else None
        with pytest.raises(Interrupted, match="stopped"):
            trained(data, processes, progress=stops, folder=folder)
        saved = sorted(file.name for file in folder.glob("*"))
        return saved, trained(data, processes, folder=folder)

    first, second = in_step(2, work)
    assert first[0]
    assert second[0] == []
    assert first[1] == second[1]
    assert first[1][0] == [*alone[0][:2], alone[0][3]]


def test_a_divided_base_computes_the_same_and_holds_a_part(data: Splits) -> None:
    tokens = torch.arange(20).view(2, 10)
    whole = tiny_base(data.tokenizer)
    before = whole.model(input_ids=tokens, use_cache=False).logits.detach()

    def work(processes: Processes) -> Any:
        base = tiny_base(data.tokenizer)
        Division(base, processes)
        divided = [parameter for parameter in base.model.parameters() if isinstance(parameter, Divided)]
        kept: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor)
            return tensor

        graft = newborn(base, candidates(base)[0])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = compose(base, [graft])(input_ids=tokens, use_cache=False).logits
        shapes = {shape for one in divided for shape in (one.shape, one.shape[::-1])}
        for_backward = {type(one) for one in kept if one.shape in shapes}
        with pytest.raises(BaseChangedError, match="nothing may write"), torch.no_grad():
            divided[0].mul_(2.0)
        base.check()
        digest = base.digest
        if not processes.is_first:
            divided[1].part[0] += 1.0
        with pytest.raises(BaseChangedError, match="weights with digest"):
            base.check()
        held = sum(one.part.numel() for one in divided)
        return (
            torch.equal(logits, before),
            [one.__name__ for one in for_backward],
            digest,
            held,
            sum(one.numel() for one in divided),
        )

    for same, sorts_kept, digest, held, num_numbers in in_step(2, work):
        assert same
        assert sorts_kept == ["Divided"]
        assert digest == whole.digest
        assert held <= num_numbers / 2 + 20


def test_what_another_does_not_know_is_computed_here_too(base: FrozenBase) -> None:
    tokens, cache = torch.arange(16).view(2, 8), PrefixCache()
    first = Prefix(base, (), [1], cache).read(1, tokens)
    asked: list[bool] = []

    def is_any(found: bool) -> bool:  # noqa: FBT001 - as the processes are asked
        asked.append(found)
        return True

    again = Prefix(base, (), [1], cache, is_any=is_any).read(1, tokens)
    assert asked == [False]
    assert cache.num_computed == 4
    assert torch.equal(again, first)
    assert torch.equal(Prefix(base, (), [1], cache).read(1, tokens), first)
    assert cache.num_computed == 4


def test_what_differs_between_processes_is_told() -> None:
    def work(processes: Processes) -> Any:
        given = torch.full((2, 3), float(processes.rank)).T
        processes.copy_from_first([given])
        assert not given.any()
        assert processes.tell(processes.rank) == 0
        with pytest.raises(WorkerError, match="process 1 has other weights than process 0"):
            processes.must_have_the_same(str(processes.rank), what="weights")
        with (
            pytest.raises(WorkerError, match="process 1 could not go on: no")
            if processes.is_first
            else pytest.raises(ConfigError, match="no"),
            processes.agreed(),
        ):
            if not processes.is_first:
                raise ConfigError("no")
        if not processes.is_first:
            return "gone"
        with pytest.raises(ProcessGoneError, match="run the same command again"):
            processes.is_any(False)  # noqa: FBT003 - the other one has ended
        return "there"

    assert in_step(2, work) == ["there", "gone"]


def test_what_cannot_be_is_refused_before_any_work(base: FrozenBase, data: Splits) -> None:
    two = Workspace(processes=Processes(size=2))
    with pytest.raises(ConfigError, match=r"schedule.accumulate is 1, which 2 processes cannot share equally"):
        train_many(base, (), candidates(base), data.train, work=two)
    with pytest.raises(ConfigError, match="nobody to share the model with"):
        Division(base, Processes())
    divided = Divided(torch.zeros(8), torch.empty(4, 4, device="meta"), 0, lambda _index, part: part.repeat(2), torch.Size((4, 4)))  # fmt: skip  # noqa: E501
    assert torch.equal(F.linear(torch.ones(1, 4), divided), torch.zeros(1, 4))
