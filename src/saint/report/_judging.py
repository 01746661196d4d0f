"""By what decisions are made, and what sealed text was asked, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.records import Interval, to_plain
from saint.registry import State
from saint.report._spelling import spell
from saint.report._text import add_row


def policy_lines(policy: Mapping[str, Any]) -> list[RenderableType]:
    """A policy, one line for each gate and for how sealed text is asked."""
    judging = policy["judging"]
    table = Table(title=f"Policy {policy['digest'][:12]}, ledger entry {policy['entry']}", title_justify="left")
    for column in ("gate", "settings"):
        table.add_column(Text(column))
    for gate, settings in policy["gates"].items():
        add_row(table, gate, _spelled(settings) or "no settings")
    plain = {name: value for name, value in judging.items() if name != "approval"}
    risks = (f"risk class {one['name']}: {one['approvals']} to approve; {_spelled(one)}" for one in judging["approval"])
    return [table, *map(Text, [f"sealed text: {_spelled(plain)}", *risks])]


def holdouts(state: State) -> list[dict[str, Any]]:
    """What each hold-out was asked, as plain data; one that was not asked is listed once it was retired."""
    there = {**{digest: [] for digest in state.retired}, **state.queries}
    return [
        {
            "holdout": digest,
            "num_queries": len(asked),
            "num_passed": sum(bool(one.passed) for one in asked),
            "num_unanswered": sum(one.passed is None for one in asked),
            "retired": state.retired.get(digest, ""),
            "num_documents": dict(asked[-1].query.num_documents) if asked else state.sealed_sizes,
            "queries": [
                {
                    "number": one.query.number,
                    "entry": one.number,
                    "graft": one.query.graft,
                    "log_threshold": one.query.log_threshold,
                    "passed": one.passed,
                }
                for one in asked
            ],
        }
        for digest, asked in there.items()
    ]


def holdout_lines(found: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """The queries of each hold-out, oldest first."""
    parts: list[RenderableType] = []
    for one in found:
        sizes = ", ".join(f"{num} of {suite}" for suite, num in one["num_documents"].items())
        table = Table(title=f"Hold-out {one['holdout'][:12]}: documents {sizes}", title_justify="left")
        for column in ("query", "entry", "graft", "ln(1/alpha)", "answer"):
            table.add_column(Text(column))
        for query in one["queries"]:
            answer = {True: "passed", False: "did not pass", None: "never answered; it counts"}[query["passed"]]
            level = f"{query['log_threshold']:.1f}"
            add_row(table, str(query["number"]), str(query["entry"]), query["graft"][:12], level, answer)
        parts.append(table)
        if one["retired"]:
            parts.append(Text(f"retired: {one['retired']}"))
    return parts or [Text("sealed text was not asked yet")]


def replayed_lines(found: Any) -> list[RenderableType]:
    """What came of working decisions out again.

    Args:
        found: A `saint.judging.Replayed`.
    """
    by_documents = f"{found.num_queries} of them from what each sealed document cost"
    lines = [f"{found.num_decisions} decisions worked out again, {by_documents}"]
    if found.num_without_policy:
        lines.append(f"could not check {found.num_without_policy} decisions: they are from before there was a policy")
    return [*map(Text, lines), *(Text(f"problem: {problem}") for problem in found.problems)]


def signature_lines(found: Any) -> list[RenderableType]:
    """What came of checking signatures.

    Args:
        found: A `saint.signing.Signatures`.
    """
    lines = [f"{found.num_attestations} attestations checked, signed by {len(found.keys)} keys"]
    lines += [f"  {key}" for key in found.keys]
    if found.is_embedded:
        lines.append(
            "one key has all roles: the signatures show that its holder wrote this, not that different people judged "
            "and approved"
        )
    lines += [f"could not check: {reason}" for reason in found.unchecked]
    return [*map(Text, lines), *(Text(f"problem: {problem}") for problem in found.problems)]


def rejudged_lines(found: Mapping[str, Any]) -> list[RenderableType]:
    """What became of the grafts that were judged again, and what another query takes."""
    lines = [_again(one) for one in found["rejudged"]] or ["no graft that stands is unvalidated"]
    left, level = found["queries_left"], found["next_log_threshold"]
    often = "as often as it takes" if left is None else f"{left} more times"
    lines.append(f"sealed text may be asked {often}; the next query is asked at ln(1/alpha) = {level:.1f}")
    if found["unvalidated"]:
        lines.append(f"unvalidated: {', '.join(digest[:12] for digest in found['unvalidated'])}")
    return [*map(Text, lines)]


_BECAME = {
    "accept": "validated again",
    "reject": "rejected and taken out",
    "defer": "deferred, and stays unvalidated",
    None: "not judged, and stays unvalidated",
}


def _again(one: Mapping[str, Any]) -> str:
    query = f", query {one['query']}" if one["query"] else ""
    reason = f": {one['reason']}" if one["reason"] else ""
    return f"{one['graft'][:12]} {_BECAME[one['outcome']]}{query}{reason}"


def watched_lines(found: Any) -> list[RenderableType]:
    """What watching a suite came to.

    Args:
        found: A `saint.growth.Watched`.
    """
    lost = _interval(found.lost_before_bpb)
    loses = f"{found.suite} loses {lost} against the bare base, allowed {found.at_most_bpb:+.4f}"
    if found.holds:
        return [Text(f"{loses}: it holds")]
    lines = [f"{loses}: it has regressed"]
    lines += [
        f"{digest[:12]} is quarantined and rolled back, its candidate queued again" for digest in found.quarantined
    ]
    if not found.quarantined:
        lines.append("no graft is shown to be to blame, so none was taken out; give more text of it")
    lines += [f"{digest[:12]} was judged again on what stands: {outcome}" for digest, outcome in found.rejudged]
    lines.append(f"now it loses {_interval(found.lost_after_bpb)}{'' if found.is_mended else ', still too much'}")
    return [*map(Text, lines)]


def _interval(interval: Interval) -> str:
    return spell(to_plain(interval))


def _spelled(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value not in ([], {}, "", None))
