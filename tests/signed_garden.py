"""A registry with an approval to give, and machines that hold some of its keys."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from saint.records import Decision, Outcome, Query, Verdict
from saint.registry import Event, Registry
from saint.signing import (
    ROLES,
    Grant,
    Key,
    Signatures,
    Trust,
    change_trust,
    check_signatures,
    key_path,
    load_key,
    make_key,
    sign,
    sign_change,
    sign_entries,
    spell,
)
from saint.signing._course import Course
from saint.signing._envelope import IN_TOTO
from saint.signing._statement import claims
from saint.testing import an_evidence

NOW = datetime.now(UTC).isoformat(timespec="seconds")
LATER = "2999-01-01T00:00:00+00:00"
WHO: Mapping[str, tuple[str, ...]] = {
    "root": ("root1", "root2"),
    "proposer": ("machine",),
    "evaluator": ("lab", "lab2"),
    "approver": ("ada", "bob"),
    "log": ("log",),
}


@dataclass(frozen=True)
class Cutting:
    """All that the registry needs to know of a graft."""

    name: str

    def to_bytes(self) -> bytes:
        return f"weights of {self.name}".encode()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


ROSE, LILY, FERN = Cutting("rose"), Cutting("lily"), Cutting("fern")


@dataclass
class Machines:
    """Homes of several people."""

    root: Path
    patch: pytest.MonkeyPatch

    def at(self, name: str, *keys: Key) -> None:
        """Go on at a machine, which gets these keys."""
        self.patch.setenv("SAINT_HOME", str(self.root / name))
        for key in keys:
            place, source = key_path(key.name), self.root / "safe" / f"{key.name}.pem"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
            place.chmod(0o600)

    def make(self, *names: str) -> dict[str, Key]:
        """Keys that lie in a safe."""
        (self.root / "safe").mkdir(exist_ok=True)
        return {name: make_key(self.root / "safe" / f"{name}.pem") for name in names}


def trust_in(
    origin: str, keys: Mapping[str, Key], *, version: int, who: Any = WHO, **grants: Mapping[str, Any]
) -> Trust:
    """Roles that are apart, with 2 root keys that must both sign."""
    roles = {
        role: Grant(
            **{"keys": tuple(keys[name].key_id for name in who[role]), "threshold": 1 + (role == "root")}
            | dict(grants.get(role, {}))
        )
        for role in ROLES
    }
    named = {name for role in ROLES for name in who[role]}
    return Trust(
        origin=origin,
        version=version,
        keys={keys[name].key_id: spell(keys[name].public_key) for name in named},
        roles=roles,
    )


def open_signed(folder: Path) -> Registry:
    """A registry whose writes are signed."""
    registry = Registry.open(folder)
    sign_entries(registry)
    return registry


def judge(registry: Registry, graft: Cutting, *, approvals: int = 0, **changes: Any) -> int:
    """Let a graft pass; returns the number of its judgement's entry."""
    state = registry.state
    holdout = state.holdout or "f" * 64
    asked = state.queries.get(holdout, [])
    evidence = an_evidence(graft=graft.digest, **{"stack": tuple(state.standing), **changes})
    query = Query(
        number=len(asked) + 1,
        num_passed=sum(one.passed is not False for one in asked),
        holdout=holdout,
        policy="e" * 64,
        graft=graft.digest,
        base=evidence.base,
        stack=evidence.stack,
        log_threshold=4.0,
        claims=(),
        num_documents={},
    )
    registry.ledger.append("queried", lambda _: vars_of(query))
    said = [Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="gain +0.2")]
    if approvals:
        said.append(Verdict(gate="approval", outcome=Outcome.DEFER, reason="somebody has to approve"))
    decision = Decision(verdicts=tuple(said), query=query, passed=True, approvals=approvals)
    registry.record(graft, evidence, decision)
    registry.seal.seal()  # as a command ends
    return registry.state.judged[-1].number


def vars_of(query: Query) -> dict[str, Any]:
    """A query as a ledger has it."""
    return {name: getattr(query, name) for name in query.__slots__}


def check(registry: Registry, now: str = NOW) -> Signatures:
    """What a fresh reader finds."""
    return check_signatures(Registry.open(registry.folder), now=now)


def signed_by(registry: Registry, *keys: Key) -> None:
    """Have the next entries signed by these keys, whatever the rules say of that: what a thief could write."""

    def attest(name: str, body: Mapping[str, Any], past: Sequence[Event]) -> dict[str, list[bytes]]:
        course = Course(registry.origin, registry.payload)
        course.read(past)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        said = [one.payload(course.origin, time=now) for one in claims(name, body, course)]
        return {"attestations": [sign(IN_TOTO, payload, *keys).to_bytes() for payload in said]} if said else {}

    registry.ledger.attest = attest


def with_roles(folder: Path, machines: Machines, **grants: Mapping[str, Any]) -> tuple[Registry, dict[str, Key]]:
    """A registry whose roles are apart from its first entry on, and all keys; this machine has them all."""
    keys = machines.make(*{name for names in WHO.values() for name in names}, "thief")
    machines.at("owner", *(key for name, key in keys.items() if name != "thief"))
    registry = Registry.open(folder)
    change_trust(registry, sign_change(trust_in(registry.origin, keys, version=1, **grants)), reason="roles")
    sign_entries(registry)
    return registry, {name: load_key(machines.root / "safe" / f"{name}.pem") for name in keys}
