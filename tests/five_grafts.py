"""A registry with five grafts that stand, trained a little and judged leniently, and all that it was made from."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import saint
from saint import config
from saint.data import Splits
from saint.grafts import Graft
from saint.growth import Again, Plan, open_data, rejudge, start
from saint.judging import Policy, policy_of, set_policy
from saint.models import FrozenBase
from saint.records import Candidate
from saint.registry import Registry
from saint.training import Schedule
from workshop import Workshop

ROLES = ("up", "down", "v", "o", "o")
LENIENT = ("gates.gain.at_least_bpb=-1.0", "gates.retention.at_most_bpb=9.0")


class Garden:
    """The registry and what it was made from."""

    def __init__(self, workshop: Workshop) -> None:
        self.base: FrozenBase = saint.freeze(workshop.base)
        self.plan: Plan = config.load(workshop.plan, Plan, overrides=LENIENT)
        self.registry: Registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data: Splits = open_data(self.registry, self.plan, self.base)
        self.grafts = [self._put(role, seed) for seed, role in enumerate(ROLES)]

    def _put(self, role: str, seed: int) -> Graft:
        """Train a graft a little and have it judged."""
        sites = tuple(site for site in self.base.sites() if site.role == role)
        candidate = Candidate(sites=sites, kind="lora", options={"rank": 2}, lr=0.05, seed=seed)
        stack = saint.restore(self.registry)
        schedule = Schedule(num_steps=4, batch_size=4, seq_len=16)
        graft = saint.train(self.base, stack, candidate, self.data.train, schedule=schedule)
        evidence = saint.evaluate(self.base, stack, graft, self.data.select, grown="prose")
        sealed = saint.Sealed(self.base, stack, [*stack, graft], self.data)
        self.registry.record(graft, evidence, saint.judge(self.registry, evidence, sealed))
        return graft

    def copied(self, folder: Path) -> "Garden":
        """The same with a registry of its own."""
        shutil.copytree(self.registry.folder.parent, folder, dirs_exist_ok=True)
        twin = copy.copy(self)
        twin.registry = Registry.open(folder / self.registry.folder.name)
        return twin

    @property
    def digests(self) -> list[str]:
        return [graft.digest for graft in self.grafts]

    @property
    def unvalidated(self) -> list[str]:
        return [entry.digest for entry in self.registry.accepted() if entry.unvalidated]

    def rejudge(self, *grafts: str) -> list[Again]:
        return rejudge(self.base, self.data, self.plan, self.registry, grafts=grafts)

    def entries(self, name: str) -> list[Any]:
        """What the ledger has of an event since all five stood."""
        last = self.registry.entry(self.digests[-1]).number
        return [event.body for event in self.registry.ledger if event.name == name and event.number > last]

    def set_gate(self, name: str, **settings: Any) -> None:
        policy = policy_of(self.registry.state)
        gates = {**policy.gates, name: {**policy.gates.get(name, {}), **settings}}
        self.set_policy(replace(policy, gates=gates))

    def set_policy(self, policy: Policy) -> None:
        set_policy(self.registry, policy, reason="to try it")
