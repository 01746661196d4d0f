"""What workers ask of a machine: its GPUs and its memory."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from growing_scene import Scene, scene_in, told_otherwise
from made_up_workers import Troupe
from saint import config
from saint.errors import ConfigError, RefusedResultError, UnfitWorkerError
from saint.growth import Hands, Plan, TrialMemory, gpus_for, opening, trial_memory
from saint.growth._greeting import greeted
from saint.growth._orders import order_for
from saint.growth._trial import Leg
from saint.progress import Silent
from saint.search import pack, unpack


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_in(tmp_path_factory.mktemp("workshop"))


def test_workers_share_the_gpus_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="PyTorch finds none on this one"):
        gpus_for(1, 0.5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in gpus_for(3, 0.5)] == ["3", "5", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in gpus_for(2, 1.0)] == ["0", "1"]
    with pytest.raises(ConfigError, match=r"7 workers with 0\.3 GPU each do not fit on the 2 of this machine.*for 6;"):
        gpus_for(7, 0.3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_worker_that_sees_no_gpu_does_not_begin(scene: Scene) -> None:
    with pytest.raises(UnfitWorkerError, match=r"promised 0\.25 of a GPU, and PyTorch finds none on its machine"):
        opening(replace(scene.brief, gpus=0.25))(Silent())


def test_workers_that_compute_otherwise_than_the_first_are_given_no_work(scene: Scene) -> None:
    def hello(**machine: str) -> bytes:
        header, _ = unpack(scene.bench.hello())
        header["environment"]["machine"] |= machine
        return pack(header)

    on_gpus = replace(scene.brief, gpus=0.5)
    with pytest.raises(UnfitWorkerError, match="worker 1 computes on cpu, expected cuda"):
        greeted("worker 1", hello(), on_gpus)
    with pytest.raises(UnfitWorkerError, match="worker 1 computes on cuda, expected cpu"):
        greeted("worker 1", hello(device="cuda"), scene.brief)
    first = greeted("worker 1", hello(device="cuda", accelerator="one sort"), on_gpus)
    assert greeted("worker 2", hello(device="cuda", accelerator="one sort"), on_gpus, first) == first
    with pytest.raises(UnfitWorkerError, match="computes on another, and the first worker on one sort"):
        greeted("worker 3", hello(device="cuda", accelerator="another"), on_gpus, first)


def test_a_gpu_may_round_otherwise_and_the_coordinators_figure_is_kept(scene: Scene) -> None:
    def rounded(share: float, header: dict[str, Any], pieces: list[bytes]) -> bytes:
        figures = [[tokens, (1 + share) * bpb] for tokens, bpb in header["history"]["select_bpb"]]
        return told_otherwise({"select_bpb": figures}, header, pieces)

    hands = Hands(scene.registry, replace(scene.brief, gpus=0.5), Troupe(), 1)
    near, far = (rounded(share, *unpack(scene.answer)) for share in (1e-4, 1e-2))
    found, here = hands.checker.arrived(scene.journal, scene.trial, Leg(), near), scene.hands(Troupe())
    exactly = here.checker.arrived(scene.journal, scene.trial, Leg(), scene.answer)
    assert found.trained.graft is not None
    assert exactly.trained.graft is not None
    assert found.trained.graft.history is not None
    assert exactly.trained.graft.history is not None
    best = found.trained.graft.history.best_tokens
    assert dict(found.trained.graft.history.select_bpb)[best] == dict(exactly.trained.graft.history.select_bpb)[best]
    with pytest.raises(RefusedResultError, match="bits per byte; it costs"):
        hands.checker.arrived(scene.journal, scene.trial, Leg(), far)
    with pytest.raises(RefusedResultError, match="bits per byte; it costs"):
        here.checker.arrived(scene.journal, scene.trial, Leg(), near)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_a_worker_trains_on_a_gpu_is_believed_and_repeated(scene: Scene) -> None:
    brief = replace(scene.brief, gpus=0.5)
    bench = opening(brief)(Silent())
    hands = Hands(scene.registry, brief, Troupe(), 1)
    assert greeted("worker 1", bench.hello(), brief)["machine"]["device"] == "cuda"
    order = order_for(scene.trial, scene.plan.search, checkpoint="", by_document=True)
    answers = [bench.do(order) for _ in range(2)]
    assert unpack(answers[0])[1] == unpack(answers[1])[1]
    assert hands.checker.arrived(scene.journal, scene.trial, Leg(), answers[0]).trained.graft is not None
    torch.use_deterministic_algorithms(mode=False)


def test_memory_of_the_largest_trial_is_made_up_of_what_the_plan_asks_for(scene: Scene) -> None:
    def memory(*overrides: str) -> TrialMemory:
        plan = config.load(scene.registry.folder.parent / "plan.toml", Plan, overrides=overrides)
        found = trial_memory(scene.registry, scene.base, plan, num_sharing=2)
        assert found is not None
        return found

    plain = memory('controls.after="never"')
    assert plain.base == sum(tensor.nbytes for tensor in {*scene.base.model.parameters(), *scene.base.model.buffers()})
    lora = 'proposals=[{kind="lora", options={rank=2}, bundle="site", lr=0.02}]'
    everywhere = sum(2 * (site.d_in + site.d_out) for site in scene.base.sites() if site.sort == "linear")
    one_round = (lora, "rounds=1", 'controls.after="never"')
    assert memory(*one_round, "budget.num_params=1000000000").learning == (36 + 4) * everywhere
    assert memory(*one_round, "budget.num_params=100").learning == (36 + 4) * 100
    three = (lora, "rounds=3", "budget.num_params=1000000000")
    assert memory(*three, 'controls.after="never"').learning == (36 + 3 * 4) * everywhere
    assert memory(*three).learning == 3 * (36 + 4) * everywhere, "a control is as large as the stack"
    assert plain.whole == 0
    assert memory().whole == 9 * plain.base
    assert memory("search.memory_mib=0").cache == memory("search.cache_prefix=false").cache == 0
    assert plain.cache > 0
    wide = memory("schedule.batch_size=400")
    assert wide.passes - memory("schedule.batch_size=200").passes == pytest.approx(wide.passes / 2, rel=0.2)
    assert wide.passes > memory("schedule.batch_size=400", "schedule.accumulate=4").passes
    assert wide.of_one(2) == wide.own + wide.whole + wide.base // 2
    assert not any(weight.requires_grad for weight in scene.base.model.parameters())
    scene.base.check()


def test_a_worker_keeps_no_more_of_what_blocks_give_than_it_may(scene: Scene) -> None:
    order = order_for(scene.trial, scene.plan.search, checkpoint="", by_document=True)
    numbers = []
    for most in (None, 0):
        bench: Any = opening(replace(scene.brief, cache_bytes=most, work=""))(Silent())  # nor has it a disk
        bench.do(order)
        first = bench._cache.num_computed
        assert unpack(bench.do(order))[1] == unpack(scene.answer)[1]
        numbers.append(bench._cache.num_computed - first)
    again, anew = numbers
    assert again == 0
    assert anew > 0


def test_workers_in_a_container_keep_no_more_than_it_has_free(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saint.growth._worker.free_memory", lambda: 24 << 20)
    bench: Any = opening(replace(scene.brief, num_sharing=2))(Silent())
    assert bench._cache._memory_left == 3 << 20
