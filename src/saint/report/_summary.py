from collections import Counter
from typing import Any

from saint import records
from saint.registry import Entry, Registry, State
from saint.report._judging import holdouts
from saint.report._work import work_in


def summarise(registry: Registry) -> dict[str, Any]:
    """Everything that the report says, as plain data: what stands, what was tried, what came of it.

    Raises:
        LedgerError: The ledger does not verify.
    """
    state, events = registry.state, registry.ledger.events()
    standing = set(state.standing)
    created = state.created
    stages, judged = _stages(state), [_graft(entry, state) for entry in state.judged]
    return {
        "registry": str(registry.folder),
        "name": created.get("plan", {}).get("name", ""),
        "plan": created.get("plan", {}),
        "plan_digest": created.get("plan_digest", ""),
        "base": {"digest": state.base, "architecture": "", "num_params": 0, "sites": [], **created.get("base", {})},
        "data": created.get("data", {}),
        "versions": created.get("versions", {}),
        "grown_domain": state.grown_domain,
        "started": events[0].time if events else "",
        "last_entry": events[-1].time if events else "",
        "head": events[-1].digest if events else "",
        "num_entries": len(events),
        "finished": bool(state.measured),
        "rounds_done": sum(one["closed"] for one in state.rounds.values()),
        "rounds_planned": sum(stage["rounds_planned"] for stage in stages) or created.get("plan", {}).get("rounds"),
        "stages": stages,
        "outcomes": dict(Counter(graft["status"] for graft in judged if not graft["judged_again"])),
        "stack": [_graft(entry, state) for entry in registry.accepted()],
        "judged": judged,
        "failed": [trial for trial in state.trained.values() if trial.get("failure")],
        "stopped": [trial for trial in state.trained.values() if trial.get("stopped")],
        "not_asked": _not_asked(state.trained, state.judged),
        "curve": [{"round": number, "arms": one.get("arms", [])} for number, one in sorted(state.rounds.items())],
        "growth_curve": state.curve,
        "sensitivity": next((one["sensitivity"] for _, one in sorted(state.rounds.items())), None),
        "controls": state.controls,
        "controls_left_out": state.controls_left_out,
        "result": state.measured[-1] if state.measured else None,
        "result_stands": bool(state.measured) and state.measured[-1]["stack"] == state.standing,
        "num_vault_openings": state.num_vault_openings,
        "work": work_in(state),
        "policy": state.policy,
        "holdouts": holdouts(state),
        "cost": {
            "num_params": sum(e.evidence.cost.num_params for e in state.judged if e.status == "stands"),
            "num_bytes": sum(e.evidence.cost.num_bytes for e in state.judged if e.status == "stands"),
            "stack_tokens": sum(e.evidence.cost.train_tokens for e in state.judged if e.digest in standing),
            "search_tokens": state.spent.train_tokens,
            "search_time_s": state.spent.train_seconds,
        },
    }


def _stages(state: State) -> list[dict[str, Any]]:
    """The stages that the plan names, and how far each has come."""
    plan = state.created.get("plan", {})
    return [
        {
            "name": stage["name"],
            "sites": stage["sites"],
            "accept": stage["accept"],
            "rounds_planned": stage["rounds"] or plan["rounds"],
            "rounds_done": sum(one["closed"] and one.get("stage") == index for one in state.rounds.values()),
            "skipped": state.skipped.get(index, ""),
        }
        for index, stage in enumerate(plan.get("stages", []))
    ]


def _stage_of(entry: Entry, state: State) -> str:
    """The stage that a graft came from, by name or number; "" where the plan names none."""
    stages = state.created.get("plan", {}).get("stages", [])
    index = state.rounds.get(-1 if entry.round is None else entry.round, {}).get("stage")
    return "" if index is None or index >= len(stages) else stages[index]["name"] or str(index + 1)


def _graft(entry: Entry, state: State) -> dict[str, Any]:
    """One judgement, with what a reader looks for first on top."""
    later = [other for other in state.judged if other.round == entry.round and other.number > entry.number]
    had_to_wait = entry.round is not None and entry.status == "deferred"
    plain: dict[str, Any] = records.to_plain(entry)
    evidence = plain["evidence"]
    return {
        "digest": entry.digest,
        "status": entry.status,
        "unvalidated": entry.unvalidated,
        "rollback_reason": entry.rollback_reason,
        "round": entry.round,
        "stage": _stage_of(entry, state),
        "judged_again": had_to_wait and any(other.candidate == entry.candidate for other in later),
        "entry": entry.number,
        "time": entry.time,
        "kind": entry.candidate.kind,
        "options": plain["candidate"]["options"],
        "lr": entry.candidate.lr,
        "submitted": None if entry.evidence.cost.train_tokens else state.submitted.get(entry.digest),
        "strength": evidence["strength"],
        "sites": plain["candidate"]["sites"],
        "where": where(entry),
        "grown": evidence["grown"],
        "gain_bpb": evidence["gain_bpb"],
        "regression_bpb": evidence["regression_bpb"],
        "drift_bpb": evidence["drift_bpb"],
        "bootstrap_bpb": evidence["bootstrap_bpb"],
        "cost": evidence["cost"],
        "removal": evidence["removal"],
        "overlap": evidence["overlap"],
        "footprint": evidence["footprint"],
        "interactions": evidence["interactions"],
        "safety": evidence["safety"],
        "unmeasured": evidence["unmeasured"],
        "stack": evidence["stack"],
        "verdicts": plain["decision"]["verdicts"],
        "query": plain["decision"]["query"],
        "passed": plain["decision"]["passed"],
        "risk": plain["decision"]["risk"],
        "approvals": [one["by"] for one in state.approved.get(entry.number, [])],
        "quarantined": state.quarantined.get(entry.digest, ""),
    }


def where(entry: Entry) -> str:
    """The sites of a graft in a few words: one by name, several by their roles."""
    sites = entry.candidate.sites
    if len(sites) == 1:
        return sites[0].key
    roles = dict.fromkeys(site.role for site in sites)
    return f"{len(sites)} sites: {', '.join(roles)}"


def _not_asked(trained: dict[str, dict[str, Any]], judged: list[Entry]) -> list[dict[str, Any]]:
    """Trials that were trained but not among the finalists of their round."""
    asked = {records.digest(entry.candidate) for entry in judged}
    return [trial for trial in trained.values() if trial["graft"] and records.digest(trial["candidate"]) not in asked]
