"""What is signed about an entry of the ledger, as in-toto v1 statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from saint import records
from saint.records import Outcome
from saint.signing._course import Course

PROVENANCE = "https://slsa.dev/provenance/v1"
EVALUATION = "https://in-toto.io/attestation/test-result/v0.1"
DECISION = "https://saint-g.dev/decision/v1"
_STATEMENT = "https://in-toto.io/Statement/v1"
_RESULT = {Outcome.ACCEPT: "PASSED", Outcome.DEFER: "WARNED", Outcome.REJECT: "FAILED"}
CONTEXT = "saintg_context"
"""The field of every predicate that ties it to a registry and a time."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What holders of a role say about something that an entry is about."""

    role: str
    subject: Mapping[str, str]
    """Name -> SHA-256."""
    predicate_type: str
    predicate: Mapping[str, Any]

    def payload(self, origin: str, *, time: str, expires: str = "") -> bytes:
        """The statement in canonical JSON.

        Args:
            time: When it is said; UTC, ISO 8601.
            expires: Until when it may be put into the ledger; "" for no end.
        """
        context = {"origin": origin, "time": time, "expires": expires}
        return records.to_canonical(
            {
                "_type": _STATEMENT,
                "subject": _descriptors(self.subject),
                "predicateType": self.predicate_type,
                "predicate": {**self.predicate, CONTEXT: context},
            }
        ).encode()


def claims(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    """What must be signed about an entry; nothing for most.

    Args:
        body: The entry's, as plain data.
        course: The ledger up to that entry.
    """
    make = _CLAIMS.get(name)
    return make(name, body, course) if make else []


def _trained(_name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    if not body.get("graft"):
        return []
    parameters = {"candidate": body["candidate"], "plan": course.created.get("plan_digest", "")}
    measured = {key: body[key] for key in ("trial", "num_params", "train_tokens", "train_flops") if key in body}
    return [_provenance("training", body["graft"], parameters, measured, _materials(body.get("stack", []), course))]


def _submitted(_name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    parameters = {key: body.get(key, "") for key in ("name", "reason", "same_base")}
    return [_provenance("submission", body["graft"], parameters, {}, _materials([], course))]


def _provenance(
    what: str, graft: str, external: Mapping[str, Any], internal: Mapping[str, Any], materials: Mapping[str, str]
) -> Claim:
    build = {
        "buildType": f"https://saint-g.dev/{what}/v1",
        "externalParameters": external,
        "internalParameters": internal,
        "resolvedDependencies": _descriptors(materials),
    }
    predicate = {"buildDefinition": build, "runDetails": {"builder": {"id": "https://saint-g.dev/builder/v1"}}}
    return Claim(role="proposer", subject={"graft": graft}, predicate_type=PROVENANCE, predicate=predicate)


def _judged(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    evidence, decision = body["evidence"], body["decision"]
    subject, by = {"graft": evidence["graft"]}, _tested(decision["verdicts"])
    binding = _binding(evidence, decision, course)
    configuration = {"policy": binding["policy"], "base": evidence["base"], **evidence["documents"]}
    tests = {
        "result": _RESULT[Outcome(body["outcome"])],
        "configuration": _descriptors({name: digest for name, digest in configuration.items() if digest}),
        **by,
    }
    said = {**binding, "event": name, "outcome": body["outcome"], "decision": records.digest(decision)}
    return [
        Claim(role="evaluator", subject=subject, predicate_type=EVALUATION, predicate=tests),
        Claim(role="evaluator", subject=subject, predicate_type=DECISION, predicate=said),
    ]


def _approved(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    number = body["judgement"]
    judgement = course.judged[number]
    said = {
        **_binding(judgement.body["evidence"], judgement.body["decision"], course),
        "event": name,
        "outcome": "approve",
        "judgement": {"entry": number, "digest": judgement.digest},
        "by": body["by"],
        "reason": body["reason"],
    }
    return [Claim(role="approver", subject={"graft": body["graft"]}, predicate_type=DECISION, predicate=said)]


def _changed(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    """A graft that is taken out, by whoever may sign anything."""
    said = {"event": name, "outcome": name, "reason": body["reason"], "base": course.base}
    return [Claim(role="any", subject={"graft": body["graft"]}, predicate_type=DECISION, predicate=said)]


def _policy(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    said = {"event": name, "outcome": "set", "reason": body.get("reason", ""), "base": course.base}
    return [Claim(role="root", subject={"policy": body["digest"]}, predicate_type=DECISION, predicate=said)]


def _named(name: str, body: Mapping[str, Any], course: Course) -> list[Claim]:
    """A composition that is given a name, or from which one is taken, by whoever may sign anything."""
    said = {"event": name, "outcome": name, "name": body["name"], "reason": body["reason"], "base": course.base}
    return [Claim(role="any", subject={"composition": body["composition"]}, predicate_type=DECISION, predicate=said)]


def _binding(evidence: Mapping[str, Any], decision: Mapping[str, Any], course: Course) -> dict[str, Any]:
    """What a decision holds for, and for nothing else."""
    query = decision.get("query") or {}
    return {
        "graft": evidence["graft"],
        "base": evidence["base"],
        "stack": evidence["stack"],
        "policy": query.get("policy", course.policy),
        "holdout": query.get("holdout", ""),
        "query": query.get("number"),
        "evidence": records.digest(evidence),
    }


def _tested(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    of = {"passedTests": Outcome.ACCEPT, "warnedTests": Outcome.DEFER, "failedTests": Outcome.REJECT}
    return {name: [one["gate"] for one in verdicts if one["outcome"] == outcome] for name, outcome in of.items()}


def _materials(stack: Sequence[str], course: Course) -> dict[str, str]:
    """Everything that a graft was made from, as far as the ledger knows."""
    text = {f"data/{name}": one.get("digest", "") for name, one in course.created.get("data", {}).items()}
    grafts = {f"stack/{place}": digest for place, digest in enumerate(stack)}
    known = {"base": course.base, "tokenizer": course.created.get("tokenizer") or "", **text, **grafts}
    return {name: digest for name, digest in known.items() if digest}


def _descriptors(digests: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())]


_CLAIMS = {
    "trained": _trained,
    "submitted": _submitted,
    "judged": _judged,
    "rejudged": _judged,
    "approved": _approved,
    "rolled_back": _changed,
    "quarantined": _changed,
    "policy_set": _policy,
    "composed": _named,
    "composition_removed": _named,
}
