"""The points of Annex IV of Regulation (EU) 2024/1689 beside what the ledger has for each. Evidence, and no verdict.

The annex is abridged here in our own words; whoever uses the skeleton holds it against the Official Journal.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from saint import records
from saint.exports._facts import Facts
from saint.exports._markdown import plain
from saint.registry import Event
from saint.statements import NOT_RECORDED, learnt_from, trained_where, training_of

_CHANGES = (
    "judged",
    "rejudged",
    "approved",
    "rolled_back",
    "quarantined",
    "policy_set",
    "holdout_retired",
    "composed",
    "composition_removed",
    "consolidated",
)
_PREFACE = (
    "The points of the annex are abridged. What follows each is what the ledger holds, as evidence: it is for people "
    "to complete, to judge and to sign. Nothing here says that a duty is met."
)
_NONE = "none"
Said = Mapping[str, Any]


def annex_iv(facts: Facts) -> dict[str, Any]:
    """The skeleton as plain data: for each point what it asks and what is recorded; a gap says that it is one."""
    points = [
        {"point": point, "asks": asks, "recorded": _said(answer(facts)) if answer else NOT_RECORDED}
        for point, asks, answer in _POINTS
    ]
    return {
        "document": "Annex IV, technical documentation: skeleton from a registry's ledger",
        "format": 1,
        "composition": facts.composition,
        "ledger_head": facts.head,
        "as_of": facts.events[-1].time,
        "points": points,
        "num_without_anything": sum(one["recorded"] == NOT_RECORDED for one in points),
    }


def annex_iv_text(facts: Facts) -> str:
    """The same as JSON."""
    return json.dumps(annex_iv(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def annex_iv_markdown(facts: Facts) -> str:
    """The same for people."""
    record = annex_iv(facts)
    lines = [
        f"# {record['document']}",
        "",
        f"Composition `{record['composition']}`, ledger head `{record['ledger_head']}`, as of {record['as_of']}.",
        "",
        _PREFACE,
        "",
    ]
    for point in record["points"]:
        lines += [f"## {point['point']} {point['asks']}", "", *_lines(point["recorded"]), ""]
    return "\n".join(lines)


def _lines(value: Any, depth: int = 0, name: str = "") -> list[str]:
    indent, head = "  " * depth, f"**{plain(name)}**" if name else ""
    if not isinstance(value, (dict, list)):
        shown = plain(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
        return [f"{indent}- {head}: {shown}" if head else f"{indent}- {shown}"]
    inside = value.items() if isinstance(value, dict) else [("", part) for part in value]
    if isinstance(value, list) and all(isinstance(part, dict) for part in value) and value:
        inside = [(str(number), part) for number, part in enumerate(value, start=1)]
    lines = [f"{indent}- {head}"] if head else []
    for key, part in inside:
        lines += _lines(part, depth + bool(head), key)
    return lines


def _said(found: Any) -> Any:
    """Plain data in which nothing is left open: a list of what happened may have none, any other gap says so."""
    plain_data = records.to_plain(found)
    if isinstance(plain_data, dict):
        return {key: _said(value) for key, value in plain_data.items()} or _NONE
    if isinstance(plain_data, list):
        return [_said(value) for value in plain_data] or _NONE
    return NOT_RECORDED if plain_data in (None, "") else plain_data


def _version(facts: Facts) -> Said:
    before = facts.standing[-1].evidence.stack if facts.standing else ()
    return {
        "intended purpose": "",
        "provider": "",
        "version": facts.composition,
        "grafts": [entry.digest for entry in facts.standing],
        "grafts of the version before": list(before),
        "rolled back since the beginning": [entry.digest for entry in facts.gone],
    }


def _software(facts: Facts) -> Said:
    created = facts.state.created
    return {
        "at the start of the registry": created.get("versions"),
        "digest of the code then": created.get("code"),
        "digest of the installed packages then": created.get("packages"),
    }


def _methods(facts: Facts) -> Said:
    base, state = facts.base, facts.state
    return {
        "pre-trained base": {
            "name": facts.hub_name,
            "revision": base.get("revision"),
            "architecture": base.get("architecture"),
            "parameters": base.get("num_params"),
            "digest": state.base,
            "provider": "",
            "licence": "",
        },
        "how it was modified": [
            {
                "graft": entry.digest,
                "kind": entry.candidate.kind,
                "sites": [site.key for site in entry.candidate.sites],
                "trained": trained_where(entry, state),
                "parameters": entry.evidence.cost.num_params,
                "strength": entry.evidence.strength,
                "standing": "unvalidated" if entry.unvalidated else "as it was judged",
            }
            for entry in facts.standing
        ],
    }


def _design(facts: Facts) -> Said:
    plan = facts.state.created.get("plan", {})
    return {
        "what is optimised": "bits per byte on text of the domain that is grown, within the limits of the gates",
        "plan": facts.state.created.get("plan_digest"),
        "budget": {name: "no limit" if most is None else most for name, most in plan["budget"].items()}
        if "budget" in plan
        else None,
        "rationale and assumptions": "",
    }


def _compute(facts: Facts) -> Said:
    state, spent = facts.state, facts.state.spent
    kept = [training for entry in facts.standing if (training := training_of(entry, state))]
    return {
        "training of all trials, rejected ones included, in FLOPs": spent.train_flops or None,
        "training of the grafts that stand, in FLOPs": sum(one.get("train_flops", 0) for one in kept) or None,
        "training of the base, in FLOPs": "",
        "share of the base's training, for the threshold of one third": "",
        "training of controls, sensitivity maps and evaluation, in FLOPs": "",
        "tokens of all trials": spent.train_tokens,
        "seconds of all trials": round(spent.train_seconds, 3),
        "machine": state.created.get("machine"),
        "energy": "",
    }


def _text(facts: Facts) -> Said:
    domains = facts.state.created.get("plan", {}).get("data", {}).get("domains", {})
    learnt = learnt_from(facts.state)
    return {
        "text": {
            name: {
                "digest": one["digest"],
                "documents": one["num_documents"],
                "bytes": one["num_bytes"],
                "licence": one.get("license"),
                "sources": domains.get(name.partition("/")[0], {}).get("sources"),
                "grafts learn from it": name in learnt,
            }
            for name, one in facts.data.items()
        },
        "safety suites": {name: one["digest"] for name, one in facts.state.created.get("suites", {}).items()},
        "left out as duplicates or contaminated": facts.state.created.get("duplicates"),
        "how it was obtained and selected": "",
        "labelling": "",
    }


def _oversight(facts: Facts) -> Said:
    return {
        "approvals": [
            {"graft": one["graft"], "by": one["by"], "reason": one["reason"], "on": one["time"], "entry": one["number"]}
            for said in facts.state.approved.values()
            for one in said
        ],
        "approvals that the policy asks for": facts.state.policy.get("policy", {}).get("judging", {}).get("approval"),
    }


def _predetermined(facts: Facts) -> Said:
    """The policy is the envelope; a change that no policy was in force for is outside of it."""
    policies = {event.number: event.body["digest"] for event in facts.events if event.name == "policy_set"}

    def in_force(entry: int) -> str | None:
        earlier = [number for number in policies if number < entry]
        return policies[max(earlier)] if earlier else None

    return {
        "policy": facts.state.policy.get("policy"),
        "policy's digest": facts.state.policy.get("digest"),
        "policies so far": [
            {"digest": event.body["digest"], "reason": event.body["reason"], "on": event.time, "entry": event.number}
            for event in facts.events
            if event.name == "policy_set"
        ],
        "changes that stand, and the policy in force when they were judged": [
            {"graft": entry.digest, "policy": in_force(entry.number)} for entry in facts.standing
        ],
    }


def _tests(facts: Facts) -> Said:
    return {
        "dated log of evaluations": [
            {
                "graft": entry.digest,
                "on": entry.time,
                "entry": entry.number,
                "outcome": entry.decision.outcome,
                "gain_bpb": entry.evidence.gain_bpb,
                "regression_bpb": entry.evidence.regression_bpb,
                "gates": {one.gate: f"{one.outcome}: {one.reason}" for one in entry.decision.verdicts},
                "query of sealed text": entry.decision.query.number if entry.decision.query else "none was asked",
            }
            for entry in facts.state.judged
        ],
        "vault": [{"on": one["time"], "entry": one["number"], "arms": one["arms"]} for one in facts.state.measured],
        "signatures of the responsible persons": "",
        "potentially discriminatory impacts": "",
    }


def _security(facts: Facts) -> Said:
    return {
        "records": "entries carry the digest of the one before; contents are named by their SHA-256",
        "head": facts.head,
        "in quarantine": facts.state.quarantined,
        "other measures": "",
    }


def _limits(facts: Facts) -> Said:
    result = facts.result
    return {
        "on the vault, against the bare base": result and {arm["name"]: _arm(arm) for arm in result["arms"]},
        "could not be measured": {
            entry.digest: entry.evidence.unmeasured for entry in facts.standing if entry.evidence.unmeasured
        },
        "for specific groups of persons": "",
        "foreseeable unintended outcomes": "",
    }


def _arm(arm: Said) -> Said:
    return {"gain_bpb": arm["gain_bpb"], "regression_bpb": arm["regression_bpb"]}


def _metrics(_facts: Facts) -> Said:
    return {
        "metric": "bits per byte against the present stack and the bare base, with intervals over documents",
        "decided by": "claims fixed before sealed text is looked at, of which one bit comes back for each query",
        "why it suits the purpose": "",
    }


def _changes(facts: Facts) -> list[Said]:
    return [_change(event) for event in facts.events if event.name in _CHANGES]


def _change(event: Event) -> Said:
    body = event.body
    named = {name: body[name] for name in ("graft", "outcome", "by", "reason", "digest", "holdout") if name in body}
    return {"on": event.time, "entry": event.number, "change": event.name, **named}


_POINTS: tuple[tuple[str, str, Callable[[Facts], Any] | None], ...] = (
    ("1(a)", "Purpose, provider, version and its relation to earlier ones", _version),
    ("1(b)", "How the system interacts with hardware or software that is no part of it", None),
    ("1(c)", "Versions of relevant software", _software),
    ("1(d)", "Forms in which it is placed on the market", None),
    ("1(e)", "Hardware that it is to run on", None),
    ("1(f)", "Pictures of a product that it is part of", None),
    ("1(g)", "User interface for the deployer", None),
    ("1(h)", "Instructions for use", None),
    ("2(a)", "Methods and steps of development, pre-trained parts and how they were modified", _methods),
    ("2(b)", "Design: logic, choices, what is optimised, trade-offs", _design),
    ("2(c)", "Architecture, and computation for development, training and testing", _compute),
    ("2(d)", "Data: origin, scope, characteristics, selection, labelling, cleaning", _text),
    ("2(e)", "Human oversight", _oversight),
    ("2(f)", "Pre-determined changes", _predetermined),
    ("2(g)", "Validation and testing: data, metrics, dated and signed logs and reports", _tests),
    ("2(h)", "Cybersecurity", _security),
    ("3", "Monitoring and control: capabilities, limits, accuracy, unintended outcomes", _limits),
    ("4", "Why the metrics of performance are appropriate", _metrics),
    ("5", "Risk management system", None),
    ("6", "Changes through the lifecycle", _changes),
    ("7", "Harmonised standards that were applied, or other solutions", None),
    ("8", "Copy of the EU declaration of conformity", None),
    ("9", "Evaluation after placing on the market, and the plan for it", None),
)
