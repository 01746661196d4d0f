from collections.abc import Mapping
from typing import Any

from saint.records import composition, composition_digest
from saint.registry import Entry, State, judgement_of
from saint.statements._statement import NOT_RECORDED, PROVENANCE, resource, resources, statement
from saint.statements._training import learnt_from, training_of

_TRAINING = "urn:saint-g:training:v1"
_SUBMISSION = "urn:saint-g:submission:v1"
_COMPOSITION = "urn:saint-g:composition:v1"
_BUILDER = "urn:saint-g:builder:local"
"""A process of whoever held the registry: nobody else watched it."""
_BASE = "the canonical record of the digests of weights, configuration and tokenizer"
_TEXT = "the canonical record of the documents' digests, of how much of each is used and of the tokenizer"
_PLAN = "the canonical spelling of the plan"


def provenance(entry: Entry, state: State) -> dict[str, Any]:
    """How a graft came to be, as SLSA provenance v1; of one that was trained elsewhere, that it was handed in.

    Raises:
        StatementError: The ledger holds something that cannot be said so.
    """
    trial = training_of(entry, state)
    parts = _submitted(entry, state) if trial is None else _trained(entry, state, trial)
    return statement({_graft_name(entry.digest): entry.digest}, PROVENANCE, parts)


def composition_provenance(state: State) -> dict[str, Any]:
    """Of what the composition that stands is made, as SLSA provenance v1.

    Raises:
        StatementError: No base is known yet.
    """
    digest = composition_digest(state.base, state.standing)
    last = {entry.digest: entry for entry in state.judged if entry.status == "stands"}.get((state.standing or [""])[-1])
    logits = judged.evidence.logits if (judged := judgement_of(state, state.standing)) else ""
    run = _run(state, {"finishedOn": last.time} if last else {})
    if logits:
        run["byproducts"] = [resource("logits", logits, digestOf="its logits on a fixed probe")]
    definition = {
        "buildType": _COMPOSITION,
        "externalParameters": composition(state.base, state.standing),
        "resolvedDependencies": [_base(state), *(resource(_graft_name(graft), graft) for graft in state.standing)],
    }
    return statement({f"composition-{digest[:12]}": digest}, PROVENANCE, {"buildDefinition": definition, **_of(run)})


def _trained(entry: Entry, state: State, trial: Mapping[str, Any]) -> dict[str, Any]:
    """Of a graft that was trained here."""
    candidate = entry.candidate
    text = [
        resource(name, one["digest"], digestOf=_TEXT, license=one.get("license", NOT_RECORDED))
        for name, one in learnt_from(state).items()
    ]
    plan = {"plan": state.created["plan_digest"]} if "plan_digest" in state.created else {}
    definition = {
        "buildType": _TRAINING,
        "externalParameters": {
            "kind": candidate.kind,
            "options": candidate.options,
            "sites": [site.key for site in candidate.sites],
            "learningRate": candidate.lr,
            "seed": candidate.seed,
            "strength": entry.evidence.strength,
        },
        "internalParameters": _made_with(state, trial),
        "resolvedDependencies": [
            _base(state),
            *(resource(_graft_name(graft), graft) for graft in trial["stack"]),
            *resources(
                {"start": trial["start"]} if trial.get("start") else {}, what="the graft it was trained on from"
            ),
            *text,
            *resources(plan, what=_PLAN),
        ],
    }
    run = _run(state, {"invocationId": trial["trial"]} | ({"finishedOn": trial["time"]} if "time" in trial else {}))
    spent = {name: trial.get(name, NOT_RECORDED) for name in ("train_tokens", "train_flops", "train_seconds")}
    run["byproducts"] = [resource("trial", trial["trial"], digestOf="candidate, schedule and stack", **spent)]
    return {"buildDefinition": definition, **_of(run)}


def _submitted(entry: Entry, state: State) -> dict[str, Any]:
    """Of a graft that came from elsewhere: what it was trained on is for whoever trained it to say."""
    came = state.submitted.get(entry.digest, {})
    definition = {
        "buildType": _SUBMISSION,
        "externalParameters": {
            "kind": entry.candidate.kind,
            "sites": [site.key for site in entry.candidate.sites],
            "name": came.get("name") or NOT_RECORDED,
            "reason": came.get("reason") or NOT_RECORDED,
            "training": NOT_RECORDED,
        },
        "resolvedDependencies": [_base(state)],
    }
    return {"buildDefinition": definition, **_of(_run(state, {}))}


def _base(state: State) -> dict[str, Any]:
    described = state.created.get("base", {})
    place = NOT_RECORDED if described.get("local", True) else described["source"]  # a path says nothing to others
    return resource(
        "base", state.base, digestOf=_BASE, source=place, revision=described.get("revision") or NOT_RECORDED
    )


def _made_with(state: State, trial: Mapping[str, Any]) -> dict[str, Any]:
    """Software and machine of a trial; of trials from before these were written down, those of the registry's start."""
    then = trial.get("environment", {})
    return {
        "versions": then.get("versions") or state.created.get("versions", NOT_RECORDED),
        "code": then.get("code") or state.created.get("code", NOT_RECORDED),
        "packages": then.get("packages") or state.created.get("packages", NOT_RECORDED),
        "machine": then.get("machine") or state.created.get("machine", NOT_RECORDED),
        "asOf": "the trial" if then else "the start of the registry",
    }


def _run(state: State, metadata: Mapping[str, Any]) -> dict[str, Any]:
    version = state.created.get("versions", {}).get("saint-g")
    builder = {"id": _BUILDER} | ({"version": {"saint-g": version}} if version else {})
    return {"builder": builder, "metadata": dict(metadata)}


def _of(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"runDetails": run}


def _graft_name(digest: str) -> str:
    return f"graft-{digest[:12]}"
