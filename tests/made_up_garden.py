"""A registry written by hand, without a model: two grafts stand, one was rolled back, one rejected."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saint.records import Arm, Decision, Interval, Outcome, Query, Verdict, to_plain
from saint.registry import Registry
from saint.testing import an_evidence


@dataclass(frozen=True)
class Cutting:
    """All that a registry needs to know of a graft."""

    name: str

    def to_bytes(self) -> bytes:
        return f"weights of {self.name}".encode()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


ROSE, LILY, FERN, MOSS = Cutting("rose"), Cutting("lily"), Cutting("fern"), Cutting("moss")
BASE = "0" * 64
TEXT = {
    f"{domain}/{split}": {
        "digest": hashlib.sha256(f"{domain}/{split}".encode()).hexdigest(),
        "num_documents": 40,
        "num_tokens": 6000,
        "num_bytes": 9000,
    }
    for domain, splits in {
        "prose": ("train", "select", "held_out", "vault"),
        "code": ("train", "select", "retain"),
    }.items()
    for split in splits
}


def created(**changes: Any) -> dict[str, Any]:
    """What a registry's first entry says."""
    base = {
        "digest": BASE,
        "identity": {"weights": "a" * 64, "config": "b" * 64, "tokenizer": "c" * 64, "quantization": None},
        "source": "../base",
        "local": True,
        "revision": None,
        "architecture": "LlamaForCausalLM",
        "num_params": 8720,
    }
    plan = {"name": "meadow <1>", "budget": {"num_params": 1000, "train_flops": None}}
    versions = {"python": "3.11.7", "saint-g": "0.1.0", "torch": "2.13.0", "torchao": "not installed"}
    return {
        "base": base,
        "plan": plan,
        "plan_digest": "d" * 64,
        "data": TEXT,
        "suites": {},
        "duplicates": {"exact": 1, "near": 0, "contaminated": 0},
        "versions": versions,
        "machine": {"processor": "x86_64", "num_threads": 1},
        **changes,
    }


def judged(registry: Registry, graft: Cutting, outcome: str = "accept") -> str:
    """Judge a graft on what stands; an accepted one answered a query of sealed text."""
    state = registry.state
    evidence = an_evidence(graft=graft.digest, stack=tuple(state.standing))
    verdicts = (
        Verdict(gate="gain", outcome=Outcome.ACCEPT, reason=f"the gain of {graft.name} is enough"),
        Verdict(gate="retention", outcome=Outcome(outcome), reason="what it forgets decides"),
    )
    if outcome != "accept":
        return registry.record(graft, evidence, Decision(verdicts=verdicts))
    query = Query(
        number=len(state.queries.get(state.holdout, [])) + 1,
        num_passed=sum(one.passed is not False for one in state.queries.get(state.holdout, [])),
        holdout=state.holdout,
        policy="e" * 64,
        graft=graft.digest,
        base=BASE,
        stack=evidence.stack,
        log_threshold=4.25,
        claims=(),
        num_documents={"prose": 40},
    )
    registry.write("queried", to_plain(query))
    return registry.record(graft, evidence, Decision(verdicts=verdicts, query=query, passed=True))


def trained(registry: Registry, graft: Cutting, **changes: Any) -> None:
    """Write down that a graft was trained on what stands."""
    evidence = an_evidence()
    body = {
        "trial": hashlib.sha256(graft.name.encode()).hexdigest(),
        "candidate": evidence.candidate,
        "graft": graft.digest,
        "stack": registry.state.standing,
        "num_params": 16,
        "train_tokens": 1000,
        "train_flops": 5000.0,
        "train_seconds": 0.5,
        **changes,
    }
    registry.write("trained", body)


def open_vault(registry: Registry) -> None:
    """Measure what stands, beside a control."""
    gain = Interval(estimate=0.2, low=0.1, high=0.3, standard_error=0.05, num_documents=40)
    arms = [
        Arm(name=name, num_params=32, train_tokens=2000, gain_bpb=gain, regression_bpb={"code": gain})
        for name in ("grafts", "lora")
    ]
    body = {"split": "vault", "documents": {}, "stack": registry.state.standing, "grown_domain": "prose"}
    registry.write("vault_opened", body)
    registry.write("measured", {**body, "arms": arms})


def made_up_garden(folder: Path, **changes: Any) -> Registry:
    """ROSE and FERN stand, LILY was rolled back from between them, MOSS was rejected; the vault was opened last."""
    registry = Registry.open(folder)
    registry.write("created", created(**changes))
    registry.write(
        "policy_set", {"policy": {"gates": {"gain": {}}, "judging": {}}, "digest": "e" * 64, "reason": "<b>"}
    )
    for graft in (ROSE, LILY, FERN):
        trained(registry, graft)
        judged(registry, graft)
    judged(registry, MOSS, "reject")
    registry.rollback(LILY.digest, reason="worse | on *code* <b>")
    open_vault(registry)
    return registry
