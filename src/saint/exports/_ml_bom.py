"""The bill of materials of a composition, as CycloneDX 1.6 has it for machine learning."""

import importlib.util
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from saint.errors import ExportError
from saint.exports._facts import Facts, not_recorded
from saint.records import Interval
from saint.registry import Entry
from saint.statements import NOT_RECORDED, learnt_from, trained_where, training_of

SPEC_VERSION = "1.6"


def ml_bom(facts: Facts) -> dict[str, Any]:
    """Composition, base, grafts and text as components with hashes, and who depends on whom.

    A graft that was rolled back is listed as excluded. The base depends on nothing here: what it was trained on is not
    in the ledger.
    """
    text = {name: _text_ref(one) for name, one in facts.data.items()}
    base, whole = f"base:sha256:{facts.state.base}", f"composition:sha256:{facts.composition}"
    grafts = {entry.digest: _graft_ref(entry.digest) for entry in (*facts.standing, *facts.gone)}
    learnt = [text[name] for name in learnt_from(facts.state)]
    depends = {whole: [base, *(grafts[entry.digest] for entry in facts.standing)], base: []}
    for entry in facts.standing:
        below = [grafts[other] for other in entry.evidence.stack if other in grafts]
        trained_here = training_of(entry, facts.state) is not None
        depends[grafts[entry.digest]] = [base, *below, *(learnt if trained_here else [])]
    depends |= {grafts[entry.digest]: [base] for entry in facts.gone}
    depends |= {ref: [] for ref in text.values()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:saint-g:ledger:{facts.head}')}",
        "version": 1,
        "metadata": {
            "timestamp": facts.events[-1].time,
            "tools": {"components": _tools(facts)},
            "component": _whole(facts, whole, text),
            "properties": _properties(
                {"ledger-head": facts.head, **{f"not-recorded:{i}": one for i, one in enumerate(not_recorded(facts))}}
            ),
        },
        "components": [
            _base(facts, base),
            *(_graft(facts, entry, text) for entry in (*facts.standing, *facts.gone)),
            *(_text(name, one) for name, one in _once(facts.data)),
        ],
        "dependencies": [{"ref": ref, "dependsOn": list(dict.fromkeys(on))} for ref, on in depends.items()],
    }


def ml_bom_text(facts: Facts) -> str:
    """The same as JSON."""
    return json.dumps(ml_bom(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def check_ml_bom(text: str) -> bool:
    """Hold a bill of materials against CycloneDX's strict schema; False where its library is not installed.

    Raises:
        ExportError: It does not keep to the schema.
    """
    if importlib.util.find_spec("cyclonedx") is None or importlib.util.find_spec("jsonschema") is None:
        return False
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if (problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ExportError(f"the bill of materials breaks the CycloneDX schema ({str(problem.data)[:300]}); report it")
    return True


def _tools(facts: Facts) -> list[dict[str, Any]]:
    versions = facts.state.created.get("versions", {})
    known = {name: version for name, version in versions.items() if version != "not installed"}
    return [{"type": "application", "name": name, "version": version} for name, version in known.items()]


def _whole(facts: Facts, ref: str, text: Mapping[str, str]) -> dict[str, Any]:
    metrics: list[dict[str, Any]] = []
    if facts.result is not None:
        [arm] = [arm for arm in facts.result["arms"] if arm["name"] == "grafts"]
        metrics = [_metric("bits per byte saved", f"{facts.result['grown_domain']}/vault", arm["gain_bpb"])]
        for suite, lost in arm["regression_bpb"].items():
            metrics.append(_metric("bits per byte lost", f"{suite}/vault", lost))
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": facts.name,
        "version": facts.composition[:12],
        "hashes": _hashes(facts.composition),
        "modelCard": _card(facts, text, metrics, ["measured against the bare base"]),
        "properties": _properties({"digest-of": "the canonical record of the base's digest and the grafts' in order"}),
    }


def _base(facts: Facts, ref: str) -> dict[str, Any]:
    said = {
        "digest-of": "the canonical record of the digests of weights, configuration and tokenizer",
        "license": NOT_RECORDED,
        "training-data": NOT_RECORDED,
        "revision": facts.base.get("revision") or NOT_RECORDED,
        "num-params": facts.base.get("num_params", NOT_RECORDED),
        **{f"identity:{part}": value for part, value in facts.base.get("identity", {}).items() if value},
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": facts.hub_name or facts.base.get("architecture") or "base",
        "version": facts.base.get("revision") or facts.state.base[:12],
        "hashes": _hashes(facts.state.base),
        "properties": _properties(said),
    }


def _graft(facts: Facts, entry: Entry, text: Mapping[str, str]) -> dict[str, Any]:
    evidence = entry.evidence
    metrics = [_metric("bits per byte saved, against the stack below", f"{evidence.grown}/select", evidence.gain_bpb)]
    for suite, lost in evidence.drift_bpb.items():
        metrics.append(_metric("bits per byte lost, all grafts against the base", f"{suite}/select", lost))
    limits = ["unvalidated: what it was judged on has changed since"] if entry.unvalidated else []
    said = {
        "status": entry.status,
        "kind": entry.candidate.kind,
        "num-params": evidence.cost.num_params,
        "ledger-entry": entry.number,
        "decided": entry.time,
        "outcome": entry.decision.outcome,
        "trained": trained_where(entry, facts.state),
        "license": NOT_RECORDED,
        "rolled-back-because": entry.rollback_reason,
        "quarantined-because": facts.state.quarantined.get(entry.digest, ""),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": _graft_ref(entry.digest),
        "name": f"graft-{entry.digest[:12]}",
        "version": entry.digest[:12],
        "scope": "required" if entry.status == "stands" else "excluded",
        "hashes": _hashes(entry.digest),
        "modelCard": _card(facts, text, metrics, limits),
        "properties": _properties({name: value for name, value in said.items() if value != ""}),
    }


def _card(
    facts: Facts, text: Mapping[str, str], metrics: list[dict[str, Any]], limits: Iterable[str]
) -> dict[str, Any]:
    used = [*learnt_from(facts.state), *(name for name in text if name.endswith("/select"))]
    architecture = facts.base.get("architecture")
    return {
        "modelParameters": {
            "architectureFamily": "transformer",
            **({"modelArchitecture": architecture} if architecture else {}),
            "datasets": [{"ref": text[name]} for name in dict.fromkeys(used)],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {"technicalLimitations": list(limits)},
    }


def _metric(sort: str, slice_: str, interval: Interval | Mapping[str, Any]) -> dict[str, Any]:
    found = (
        interval if isinstance(interval, Mapping) else {n: getattr(interval, n) for n in ("estimate", "low", "high")}
    )
    return {
        "type": sort,
        "slice": slice_,
        "value": f"{found['estimate']:.6g}",
        "confidenceInterval": {"lowerBound": f"{found['low']:.6g}", "upperBound": f"{found['high']:.6g}"},
    }


def _text(name: str, described: Mapping[str, Any]) -> dict[str, Any]:
    licence = described.get("license")
    licences = [{"license": {"name": licence, "acknowledgement": "declared"}}] if licence else []
    size = f"{described['num_documents']:,} documents, {described['num_bytes']:,} bytes"
    said = {
        "digest-of": "the canonical record of the documents' digests, of how much of each is used and of the tokenizer",
        **({} if licences else {"license": NOT_RECORDED}),
    }
    return {
        "type": "data",
        "bom-ref": _text_ref(described),
        "name": name,
        "version": described["digest"][:12],
        "hashes": _hashes(described["digest"]),
        **({"licenses": licences} if licences else {}),
        "data": [{"type": "dataset", "name": name, "description": size}],
        "properties": _properties(said),
    }


def _once(data: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Each text once, also where two splits hold the same documents."""
    return {_text_ref(one): (name, one) for name, one in data.items()}.values()


def _text_ref(described: Mapping[str, Any]) -> str:
    return f"data:sha256:{described['digest']}"


def _graft_ref(digest: str) -> str:
    return f"graft:sha256:{digest}"


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(said: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"saint-g:{name}", "value": str(value)} for name, value in said.items()]
