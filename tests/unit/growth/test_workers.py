"""Growth believes no worker: each lie changes nothing but that its job is done again, by another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from safetensors import torch as safetensors_torch
from typing_extensions import override

import saint
from made_up_workers import Troupe
from saint import config
from saint.errors import ConfigError, RefusedResultError, UnfitWorkerError
from saint.grafts import grow_from
from saint.growth import Brief, Hands, Plan, TrialMemory, brief_for, gpus_for, open_data, opening, start, trial_memory
from saint.growth._answers import chosen_documents
from saint.growth._greeting import greeted
from saint.growth._journal import Journal
from saint.growth._orders import order_for
from saint.growth._trial import Trial
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Candidate
from saint.registry import Registry
from saint.search import Bench, Executor, Heard, Lease, pack, unpack
from saint.training import Rung, Search, train_many
from workshop import build_workshop

Twist = Callable[[dict[str, Any], list[bytes]], bytes]
OVERRIDES = ('controls.after="never"', "schedule.num_steps=6", "schedule.evaluate_every=2", "rounds=1")


def honest(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack(header, pieces)


def changed(changes: dict[str, Any], header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack({**header, **changes}, pieces)


def told_otherwise(changes: dict[str, Any], header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack({**header, "history": {**header["history"], **changes}}, pieces)


def with_pieces(twist: Callable[[bytes], list[bytes]], header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack(header, twist(pieces[0]))


def with_weights(twist: Callable[[torch.Tensor], torch.Tensor], content: bytes) -> list[bytes]:
    found = safetensors_torch.load(content)
    return [safetensors_torch.save({name: twist(t) if t.numel() > 1 else t for name, t in found.items()})]


def not_a_number(tensor: torch.Tensor) -> torch.Tensor:
    tensor[0] = float("nan")
    return tensor


def inflated(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    figures = [[tokens, 0.9 * bpb] for tokens, bpb in header["history"]["select_bpb"]]
    return told_otherwise({"select_bpb": figures}, header, pieces)


def cut_short(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    [(tokens, bpb), *_] = header["history"]["select_bpb"]
    shorter = {"select_bpb": [[tokens, bpb]], "best_tokens": tokens, "train_tokens": tokens}
    return told_otherwise(shorter, {**header, "train_tokens": tokens}, pieces)


LIES: dict[str, Twist] = {
    "inflated numbers": inflated,
    "another base": partial(changed, {"base": "0" * 64}),
    "another candidate": partial(changed, {"candidate": "0" * 64}),
    "no message": lambda _header, _pieces: b"garbage",
    "no graft": lambda header, _pieces: pack(header),
    "malformed": partial(with_pieces, lambda content: [content[:40] + b"?" + content[41:]]),
    "cut off": partial(with_pieces, lambda content: [content[:-4]]),
    "oversized": partial(with_pieces, lambda content: [content + bytes(8)]),
    "two grafts": partial(with_pieces, lambda content: [content, content]),
    "not a number": partial(with_pieces, partial(with_weights, not_a_number)),
    "other weights": partial(with_pieces, partial(with_weights, lambda tensor: tensor + 3.0)),
    "no history": partial(changed, {"history": None}),
    "unknown history": partial(told_otherwise, {"luck": 1}),
    "stopped early": cut_short,
    "fewer tokens": partial(told_otherwise, {"train_tokens": 1}),
    "steps that are not": partial(told_otherwise, {"select_bpb": [[1, 2.0]], "best_tokens": 1, "train_tokens": 1}),
    "tokens before birth": partial(changed, {"birth_tokens": 10**9}),
    "another past": partial(told_otherwise, {"earlier_tokens": 5}),
    "negative time": partial(changed, {"time_s": -1.0}),
    "no time": partial(changed, {"time_s": None}),
    "a failure that is none": partial(changed, {"failure": "it diverged"}),
}


class Inside(Executor):
    """Workers that do real work in this very process; what the first one answers is twisted."""

    def __init__(self, bench: Bench, twist: Twist) -> None:
        self._bench, self._twist = bench, twist
        self._said: list[Heard] = []
        self.hired: list[str] = []
        self.dismissed: list[str] = []

    @override
    def hire(self) -> str:
        self.hired.append(f"worker {len(self.hired) + 1}")
        self._said.append(Heard(self.hired[-1], "ready", value=self._bench.hello()))
        return self.hired[-1]

    @override
    def hand(self, lease: Lease) -> None:
        answer = self._bench.do(lease.job.body)
        if lease.worker == "worker 1":
            answer = self._twist(*unpack(answer))
        self._said.append(Heard(lease.worker, "done", lease.token, answer))

    @override
    def hear(self, patience_s: float) -> Iterator[Heard]:
        said, self._said = self._said, []
        yield from said

    @override
    def dismiss(self, worker: str) -> None:
        self.dismissed.append(worker)

    @override
    def close(self) -> None:
        pass


@dataclass
class Scene:
    """A registry that is about to grow, a worker's bench, and one trial with an honest answer."""

    registry: Registry
    base: FrozenBase
    plan: Plan
    journal: Journal
    bench: Bench
    trial: Trial
    answer: bytes

    @property
    def brief(self) -> Brief:
        return brief_for(self.registry, self.base, self.plan, num_sharing=1)

    def hands(self, executor: Executor, number: int = 1, spot_check: float = 1.0) -> Hands:
        return Hands(self.registry, self.brief, executor, number, spot_check=spot_check)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    workshop = build_workshop(tmp_path_factory.mktemp("workshop"))
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=OVERRIDES)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    journal = Journal(registry, base, open_data(registry, plan, base), plan, Silent())
    bench = opening(brief_for(registry, base, plan, num_sharing=1))(Silent())
    trial = trial_of(journal, seed=0)
    answer = bench.do(order_for(trial, plan.search, checkpoint="", by_document=True))
    return Scene(registry, base, plan, journal, bench, trial, answer)


def trial_of(journal: Journal, *, seed: int) -> Trial:
    site = next(site for site in journal.base.sites() if site.role == "q" and site.depth == 1)
    candidate = Candidate(sites=(site,), kind="lora", options={"rank": 2}, lr=0.02, seed=seed)
    return Trial(candidate=candidate, stack=(), schedule=journal.plan.schedule)


def test_what_a_worker_trains_is_what_is_trained_here(scene: Scene) -> None:
    journal, trial = scene.journal, scene.trial
    [here] = train_many(journal.base, (), [trial.candidate], journal.data.train, **journal.training([trial]))
    found = scene.hands(Troupe()).checked(journal, trial, scene.answer)
    assert here.graft is not None
    assert found.graft is not None
    assert found.graft.digest == here.graft.digest
    assert found.train_tokens == here.train_tokens
    assert here.graft.history is not None
    assert found.graft.history == replace(here.graft.history, time_s=found.graft.history.time_s)  # type: ignore[union-attr]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_out(scene: Scene, lie: str) -> None:
    twisted = LIES[lie](*unpack(scene.answer))
    with pytest.raises(RefusedResultError):
        scene.hands(Troupe()).checked(scene.journal, scene.trial, twisted)


def test_what_is_spot_checked_is_what_is_measured_in_full(scene: Scene) -> None:
    found, whole = (
        scene.hands(Troupe(), spot_check=share).checked(scene.journal, scene.trial, scene.answer)
        for share in (0.25, 1.0)
    )
    assert found.graft is not None
    assert whole.graft is not None
    assert found.graft.digest == whole.graft.digest
    assert found.graft.history == whole.graft.history


def costs_told(twist: Callable[[list[float]], Any], header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack({**header, "costs": twist(header["costs"])}, pieces)


SPOT_LIES: dict[str, Twist] = {
    "inflated numbers": inflated,
    "no costs": partial(changed, {"costs": None}),
    "costs of too few": partial(costs_told, lambda costs: costs[1:]),
    "costs below nothing": partial(costs_told, lambda costs: [-1.0, *costs[1:]]),
    "costs in another order": partial(costs_told, lambda costs: costs[::-1]),
    "other weights": LIES["other weights"],
}


@pytest.mark.parametrize("lie", SPOT_LIES)
def test_a_lie_about_documents_is_found_out_by_a_spot_check(scene: Scene, lie: str) -> None:
    twisted = SPOT_LIES[lie](*unpack(scene.answer))
    with pytest.raises(RefusedResultError):
        scene.hands(Troupe(), spot_check=0.25).checked(scene.journal, scene.trial, twisted)


def test_documents_are_chosen_by_chance_and_never_too_few() -> None:
    drawn = {tuple(chosen_documents(1000, 0.05)) for _ in range(4)}
    assert len(drawn) == 4
    assert {len(set(one)) for one in drawn} == {50}
    assert list(chosen_documents(10, 0.01)) == list(range(10))
    assert len(chosen_documents(1000, 0.001)) == 16


def test_a_graft_at_another_strength_is_refused(scene: Scene) -> None:
    header, [content] = unpack(scene.answer)
    graft = grow_from(scene.trial.candidate, weights=content)
    graft.set_strength(0.5)
    with pytest.raises(RefusedResultError, match="strength 1"):
        scene.hands(Troupe()).checked(scene.journal, scene.trial, pack(header, [graft.to_bytes()]))


@pytest.mark.parametrize("number", [1, 2])
def test_a_liar_is_replaced_and_the_ledger_has_what_is_true(scene: Scene, number: int) -> None:
    journal, trials = scene.journal, [trial_of(scene.journal, seed=10 * number + index) for index in range(2)]
    inside = Inside(scene.bench, inflated)
    with scene.hands(inside, number) as hands:
        hands.train(journal, trials)
    assert inside.dismissed == ["worker 1"]
    assert hands.crew.num_refused == 1
    for trial in trials:
        found = journal.trained(trial)
        assert found is not None
        honestly = scene.bench.do(order_for(trial, scene.plan.search, checkpoint="", by_document=True))
        assert found.to_bytes() == unpack(honestly)[1][0]
        assert [one.body["trial"] for one in scene.registry.ledger.events() if one.name == "trained"].count(
            journal.name_of(trial)
        ) == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"base": "0" * 64}, "has base 000000000000, expected"),
        ({"environment": None}, "does not say what it works with"),
        ({"versions": {"torch": "1.0"}}, "has torch 1.0, and the coordinator"),
        ({"code": "0" * 64}, "other code of saint-g"),
    ],
)
def test_a_worker_with_another_base_or_version_is_given_no_work(
    scene: Scene, changes: dict[str, Any], match: str
) -> None:
    header, _ = unpack(scene.bench.hello())
    for name, change in changes.items():
        if name in ("versions", "code"):
            there = header["environment"][name]
            header["environment"][name] = {**there, **change} if isinstance(there, dict) else change
        else:
            header[name] = change
    troupe = Troupe(hello=pack(header))
    with scene.hands(troupe) as hands, pytest.raises(UnfitWorkerError, match=match):
        hands.train(scene.journal, [trial_of(scene.journal, seed=99)])
    assert troupe.handed == []


def test_a_plan_whose_trials_need_each_other_has_no_workers(scene: Scene) -> None:
    plan = replace(scene.plan, search=Search(rungs=(Rung(at=0.5, keep=0.5),)))
    with pytest.raises(ConfigError, match=r"search\.rungs hold the candidates of a round against each other"):
        brief_for(scene.registry, scene.base, plan, num_sharing=1)


def test_a_base_in_memory_has_no_workers(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="in memory"):
        brief_for(scene.registry, replace(scene.base, source=""), scene.plan, num_sharing=1)


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
    found, here = hands.checked(scene.journal, scene.trial, near), scene.hands(Troupe())
    exactly = here.checked(scene.journal, scene.trial, scene.answer)
    assert found.graft is not None
    assert exactly.graft is not None
    assert found.graft.history is not None
    assert exactly.graft.history is not None
    best = found.graft.history.best_tokens
    assert dict(found.graft.history.select_bpb)[best] == dict(exactly.graft.history.select_bpb)[best]
    with pytest.raises(RefusedResultError, match="bits per byte; it costs"):
        hands.checked(scene.journal, scene.trial, far)
    with pytest.raises(RefusedResultError, match="bits per byte; it costs"):
        here.checked(scene.journal, scene.trial, near)


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
    assert hands.checked(scene.journal, scene.trial, answers[0]).graft is not None
    torch.use_deterministic_algorithms(mode=False)


def test_memory_of_the_largest_trial_is_made_up_of_what_the_plan_asks_for(scene: Scene) -> None:
    def memory(*overrides: str) -> TrialMemory:
        plan = config.load(scene.registry.folder.parent / "plan.toml", Plan, overrides=overrides)
        found = trial_memory(scene.registry, scene.base, plan, num_sharing=2)
        assert found is not None
        return found

    plain = memory('controls.after="never"')
    assert plain.base == sum(tensor.nbytes for tensor in {*scene.base.model.parameters(), *scene.base.model.buffers()})
    assert plain.learning == 40 * scene.plan.budget.num_params
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
