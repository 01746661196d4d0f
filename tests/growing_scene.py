"""A registry that is about to grow, and workers in this very process whose answers a test may twist."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch
from typing_extensions import override

import saint
from saint import config
from saint.growth import Brief, CheckingCrew, Hands, Plan, brief_for, open_data, opening, start
from saint.growth._journal import Journal
from saint.growth._orders import order_for
from saint.growth._trial import Trial
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Candidate
from saint.registry import Registry
from saint.search import Bench, Executor, Heard, Lease, pack, unpack
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


def at_another_position(twist: Callable[[dict[str, Any]], dict[str, Any]], content: bytes) -> list[bytes]:
    """A checkpoint that says otherwise how far it has come."""
    position = json.loads(
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["position"]
    )
    twisted = json.dumps({**position, **twist(position)})
    return [safetensors_torch.save(safetensors_torch.load(content), {"position": twisted})]


def inflated(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    figures = [[tokens, 0.9 * bpb] for tokens, bpb in header["history"]["select_bpb"]]
    return told_otherwise({"select_bpb": figures}, header, pieces)


def cut_short(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    [(tokens, bpb), *_] = header["history"]["select_bpb"]
    shorter = {"select_bpb": [[tokens, bpb]], "best_tokens": tokens, "train_tokens": tokens}
    return told_otherwise(shorter, {**header, "train_tokens": tokens}, pieces)


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
        self._hear(lease, answer)

    def _hear(self, lease: Lease, answer: bytes) -> None:
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

    def hands(
        self,
        executor: Executor,
        number: int = 1,
        spot_check: float = 1.0,
        checking: CheckingCrew | None = None,
    ) -> Hands:
        return Hands(self.registry, self.brief, executor, number, spot_check=spot_check, checking=checking)


def scene_in(folder: Path) -> Scene:
    workshop = build_workshop(folder)
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
