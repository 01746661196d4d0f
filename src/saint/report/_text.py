"""Tables and lines for a terminal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.registry import Event
from saint.report._marks import footprint_lines, interaction_lines, safety_lines
from saint.report._spelling import scaled, signed_by, spell

_STYLES = {
    "stands": "green",
    "accept": "green",
    "rejected": "red",
    "reject": "red",
    "deferred": "yellow",
    "defer": "yellow",
    "rolled back": "magenta",
    "waits for approval": "cyan",
}
ARM_LABELS = {
    "grafts": "grafts",
    "lora": "LoRA at every linear site",
    "random": "LoRA at sites drawn by chance",
    "full": "full fine-tuning",
    "full, interpolated": "full fine-tuning, interpolated",
}


def status_lines(summary: Mapping[str, Any]) -> list[RenderableType]:
    """What stands now and where growth has come to."""
    base, cost = summary["base"], summary["cost"]
    planned = summary["rounds_planned"]
    quantization = base.get("identity", {}).get("quantization")
    lines = [
        f"{summary['registry']}: {summary['name'] or 'no plan'}",
        f"base    {base.get('architecture', '')} {base['digest'][:12]} {base.get('num_params', 0):,} parameters"
        f"{', ' + quantization if quantization else ''}"
        if base["digest"]
        else "base    none yet",
        f"growth  {summary['rounds_done']} of {planned} rounds{', finished' if summary['finished'] else ''}"
        if planned
        else "growth  by hand",
        f"stack   {len(summary['stack'])} grafts, {cost['num_params']:,} parameters, {cost['num_bytes']:,} bytes",
        f"judged  {len(summary['judged'])} ({', '.join(f'{n} {s}' for s, n in summary['outcomes'].items()) or 'none'})",
    ]
    lines += [_stage_line(number, stage) for number, stage in enumerate(summary["stages"], start=1)]
    parts: list[RenderableType] = [Text(line) for line in lines]
    if summary["stack"]:
        parts.append(judged_table(summary["stack"], title="What stands"))
    return parts


def _stage_line(number: int, stage: Mapping[str, Any]) -> str:
    name = f" ({stage['name']})" if stage["name"] else ""
    skipped = f", the rest skipped: {stage['skipped']}" if stage["skipped"] else ""
    return f"        stage {number}{name}: {stage['rounds_done']} of {stage['rounds_planned']} rounds{skipped}"


def judged_table(grafts: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """One row per judgement."""
    suites = list(dict.fromkeys(suite for graft in grafts for suite in graft["drift_bpb"]))
    table = Table(title=title, title_justify="left")
    columns = (
        "graft",
        "kind",
        "where",
        "round",
        "params",
        "status",
        "gain, bits/byte, development text",
        *(f"{s} lost in all" for s in suites),
    )
    for column in columns:
        table.add_column(Text(column))
    for graft in grafts:
        status = graft["status"] + (", unvalidated" if graft["unvalidated"] else "")
        add_row(
            table,
            graft["digest"][:12],
            f"{graft['kind']} {_options(graft['options'])}",
            graft["where"],
            _origin(graft),
            f"{graft['cost']['num_params']:,}",
            Text(status, style=_STYLES[graft["status"]]),
            spell(graft["gain_bpb"]),
            *(spell(graft["drift_bpb"].get(suite)) for suite in suites),
        )
    return table


def arms_table(result: Mapping[str, Any]) -> Table:
    """The stack beside its controls."""
    arms = result["arms"]
    domains = list(dict.fromkeys(domain for arm in arms for domain in arm["regression_bpb"]))
    table = Table(title=f"Measured on the {result['split']}, against the bare base", title_justify="left")
    gained = f"gain on {result['grown_domain']}"
    for column in ("", "trained parameters", "tokens", gained, *(f"loss on {domain}" for domain in domains)):
        table.add_column(Text(column))
    for arm in arms:
        add_row(
            table,
            ARM_LABELS.get(arm["name"], arm["name"]),
            f"{arm['num_params']:,}",
            arm_tokens(arm, result),
            spell(arm["gain_bpb"]),
            *(spell(arm["regression_bpb"].get(domain)) for domain in domains),
        )
    return table


def entry_lines(graft: Mapping[str, Any]) -> list[RenderableType]:
    """All about one graft."""
    cost, sites = graft["cost"], graft["sites"]
    lines = [
        f"graft    {graft['digest']}",
        f"kind     {graft['kind']} {_options(graft['options'])}",
        f"trained  {_how_trained(graft)}, kept at strength {graft['strength']:g}",
        f"status   {graft['status']}{', unvalidated: what it was judged on has changed' * graft['unvalidated']}",
        *(f"reason   {reason}" for reason in _reasons(graft)),
        *([f"round    {_origin(graft)}"] if graft["round"] is not None else []),
        f"judged   {graft['time']}, ledger entry {graft['entry']}, on a stack of {len(graft['stack'])}",
        f"overlap  {_overlap(graft['overlap'])}",
        *interaction_lines(graft["interactions"]),
        f"asked    {_asked(graft)}",
        f"gain     {spell(graft['gain_bpb'])} bits per byte, {graft['gain_bpb']['num_documents']} documents of select",
        *(
            f"{suite:<8} loses {spell(graft['regression_bpb'][suite])}, with the whole stack {spell(drift)}"
            for suite, drift in graft["drift_bpb"].items()
        ),
        *([f"bootstrap {_bootstrap(graft)}"] if graft["bootstrap_bpb"] else []),
        (
            f"cost     {cost['num_params']:,} parameters, {cost['num_bytes']:,} bytes, {tokens_of(graft)}, "
            f"{cost['flops_per_token']:,} FLOPs per token{' until folded' if cost['foldable'] else ''}"
        ),
        f"sites    {', '.join(site['module'] for site in sites)}",
        *footprint_lines(graft["footprint"]),
        *safety_lines(graft),
    ]
    verdicts = Table(title="Gates", title_justify="left")
    for column in ("gate", "verdict", "reason"):
        verdicts.add_column(Text(column))
    for verdict in graft["verdicts"]:
        outcome = Text(verdict["outcome"], style=_STYLES[verdict["outcome"]])
        add_row(verdicts, verdict["gate"], outcome, verdict["reason"])
    return [*map(Text, lines), verdicts]


def log_table(events: Iterable[Event]) -> Table:
    """The ledger, one line per entry."""
    table = Table(title="Ledger", title_justify="left")
    for column in ("entry", "time", "event", "what", "digest"):
        table.add_column(Text(column))
    for event in events:
        add_row(table, str(event.number), event.time, event.name, _gist(event), event.digest[:12])
    return table


def add_row(table: Table, *cells: str | Text) -> None:
    """What people wrote is shown as they wrote it: rich would take its brackets for markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


CHANGED_SINCE = "the stack has changed since: this is the result of the stack as it was then, not of what stands now"


def arm_tokens(arm: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What an arm of a result learnt from, as far as it is known: submitted grafts were trained elsewhere."""
    known = f"{arm['train_tokens']:,}"
    if arm["name"] != "grafts" or not result.get("submitted"):
        return known
    return f"{known}, others unknown" if arm["train_tokens"] else "unknown"


def given_to_controls(result: Mapping[str, Any]) -> str:
    """How the tokens of the controls compare with those of the stack; "" without controls."""
    if len(result["arms"]) == 1:
        return ""
    if not result.get("submitted"):
        return "Every control was given as many tokens as the grafts learnt from."
    return (
        "Every control was given as many tokens as the grafts that were trained here learnt from; what the submitted "
        "ones learnt from is not known, so the tokens are not equal."
    )


def trained_elsewhere(summary: Mapping[str, Any]) -> str:
    """What the counted tokens leave out; "" when nothing."""
    foreign = [graft["digest"][:12] for graft in summary["stack"] if graft["submitted"]]
    if not foreign:
        return ""
    also = ", also not among those that controls were given" if summary["controls"] else ""
    return (
        f"{', '.join(foreign)}: submitted, not trained here; what such a graft learnt from is not known and not among "
        f"the tokens{also}"
    )


def tokens_of(graft: Mapping[str, Any]) -> str:
    """What a graft learnt from, as far as it was here."""
    return "not trained here" if graft["submitted"] else f"{graft['cost']['train_tokens']:,} tokens"


def _reasons(graft: Mapping[str, Any]) -> list[str]:
    """Why it was submitted and why it was rolled back, where people said so."""
    reasons = [(graft["submitted"] or {}).get("reason", ""), graft["rollback_reason"]]
    return [reason for reason in reasons if reason]


def _how_trained(graft: Mapping[str, Any]) -> str:
    if (came := graft["submitted"]) is None:
        return f"with peak learning rate {graft['lr']:g}"
    base = {"identity": "the same base by its digest", "name": "the same base by its name"}
    named = f" as {came['name']!r}" if came["name"] else ""
    ground = base.get(came["same_base"], "said to be for the same base")
    return f"elsewhere, submitted{named} from {came['folder']}, {ground}{_certified(came)}"


def _certified(came: Mapping[str, Any]) -> str:
    if (library := came.get("library")) is None:
        return ""
    return f", with certificate {library['certificate'][:12]} signed by {signed_by(library['signers'])}"


def no_controls(summary: Mapping[str, Any]) -> str:
    """Why the grafts stand alone in the result."""
    if summary["plan"].get("controls", {}).get("after") == "never":
        return "no controls were trained: the plan asked for none"
    stack = summary["result"]["stack"] if summary["result"] else []
    if reasons := [one["reason"] for one in summary["controls_left_out"] if one["stack"] == stack]:
        return f"no controls were trained: {reasons[-1]}"
    return "no control came to its end: the ledger says why"


def _gist(event: Event) -> str:
    """What an entry says, in a few words."""
    if event.name in _GISTS:
        return _GISTS[event.name](event.body)
    return ", ".join(f"{key} {value}" for key, value in event.body.items() if isinstance(value, (str, int)))[:80]


def what(candidate: Mapping[str, Any]) -> str:
    """A candidate in a few words."""
    return f"{candidate['kind']} at {len(candidate['sites'])} sites"


def _round(body: Mapping[str, Any]) -> str:
    return f"round {body['round'] + 1}{': ' + body['abandoned'] if 'abandoned' in body else ''}"


def _origin(graft: Mapping[str, Any]) -> str:
    """The round that a graft came from, and its stage if the plan has any."""
    if graft["round"] is None:
        return "none"
    return f"{graft['round'] + 1}{', stage ' + graft['stage'] if graft['stage'] else ''}"


def _bootstrap(graft: Mapping[str, Any]) -> str:
    """What an ordinary bootstrap has, beside the intervals above; of the same text, and no gate reads it."""
    found = {"gain": graft["bootstrap_bpb"].get(graft["grown"]), **graft["bootstrap_bpb"]}
    found.pop(graft["grown"], None)
    return ", ".join(f"{name} {spell(interval)}" for name, interval in found.items())


def _asked(graft: Mapping[str, Any]) -> str:
    """What sealed text was asked about a graft."""
    if (query := graft["query"]) is None:
        return "nothing of sealed text"
    answer = "every claim was shown" if graft["passed"] else "not every claim was shown"
    return f"{len(query['claims'])} claims of sealed text, as query {query['number']}: {answer}"


def _overlap(overlap: Mapping[str, float] | None) -> str:
    if overlap is None:
        return "nothing of low rank is shared with the stack"
    return (
        f"largest cosine with the stack {overlap['inputs']:.3f} for inputs, {overlap['outputs']:.3f} for outputs; "
        f"{overlap['inside']:.0%} of the change lies within the stack's span"
    )


def _number_of_parts(body: Mapping[str, Any]) -> str:
    return f"{len(body['members'])} grafts" if "members" in body else what(body["candidate"])


_GISTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "created": lambda body: f"{body['plan']['name']} on {body['base']['architecture']} {body['base']['digest'][:12]}",
    "round_opened": _round,
    "round_closed": _round,
    "stage_skipped": lambda body: f"stage {body['stage'] + 1}: {body['reason']}",
    "stage_resumed": lambda body: f"stage {body['stage'] + 1}",
    "trained": lambda body: (
        f"{what(body['candidate'])}: {body['graft'][:12] or body.get('failure') or body['stopped']}"
    ),
    "set_opened": lambda body: (
        f"{_round(body)}: {body['way']}"
        + (f" left out: {body['left_out']}" if body["left_out"] else f" of {_number_of_parts(body)}")
    ),
    "work_done": lambda body: (
        f"{_round(body)}: {sum(took['jobs'] for took in body['roles'].values())} jobs of {body['workers']} workers"
    ),
    "validated": lambda body: (
        f"{body['graft'][:12]} {'is as it was judged' if body['agrees'] else 'is not as it was judged'}, by a worker"
    ),
    "pruned": lambda body: f"{len(body['scores'])} sites to {len(body['kept'])}, by {body['by']}",
    "curve_measured": lambda body: (
        f"{'the bare base' if body['round'] is None else _round(body)}: "
        f"{body.get('grown_bpb', body.get('held_out_bpb')):.4f} bits per byte"
    ),
    "judged": lambda body: f"{body['outcome']}: {body['graft'][:12]}, {what(body['evidence']['candidate'])}",
    "submitted": lambda body: (
        f"{body['graft'][:12]}: {', '.join(filter(None, (body['name'], body['reason'], body['folder'])))}"
    ),
    "policy_set": lambda body: f"{body['digest'][:12]}{': ' + body['reason'] if body['reason'] else ''}",
    "queried": lambda body: f"query {body['number']} of hold-out {body['holdout'][:12]} about {body['graft'][:12]}",
    "holdout_retired": lambda body: f"hold-out {body['holdout'][:12]}: {body['reason']}",
    "approved": lambda body: f"{body['graft'][:12]} by {body['by']}: {body['reason']}",
    "rejudged": lambda body: f"{body['outcome']}: {body['graft'][:12]}, on what stands",
    "quarantined": lambda body: f"{body['graft'][:12]}: {body['reason']}",
    "retrain_queued": lambda body: f"{what(body['candidate'])}, instead of {body['graft'][:12]}",
    "exported": lambda body: f"{', '.join(graft[:12] for graft in body['grafts'])} as {body['way']}",
    "consolidated": lambda body: f"{', '.join(graft[:12] for graft in body['grafts'])} into base {body['base'][:12]}",
    "rolled_back": lambda body: f"{body['graft'][:12]}: {body['reason']}",
    "composed": lambda body: f"{body['name']}: {', '.join(map(scaled, body['grafts']))}: {body['reason']}",
    "composition_removed": lambda body: f"{body['name']}: {body['reason']}",
    "control_trained": lambda body: f"{body['name']}{': ' + body['failure'] if 'failure' in body else ''}",
    "controls_left_out": lambda body: str(body["reason"]),
    "measured": lambda body: f"{body['split']}: {len(body['arms'])} arms",
}


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
