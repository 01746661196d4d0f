"""A model card as the Hugging Face Hub reads it: front matter for programs, and a page for people."""

import json
from collections.abc import Mapping
from typing import Any

from saint.errors import ExportError
from saint.exports._facts import Facts, not_recorded
from saint.exports._markdown import plain, table
from saint.registry import Entry

_FENCE = "---"
_LAST_ESCAPED = 0xFFFF
_REQUIRED = ("license", "library_name", "tags")


def model_card(facts: Facts) -> str:
    """The card of the composition that stands.

    A base that others cannot find by name is not named in the front matter: the Hub would take the name for a link.

    Raises:
        ExportError: What came out is not what the Hub's own check would let pass.
    """
    card = f"{_front_matter(facts)}\n{_page(facts)}"
    check_model_card(card)
    return card


def front_matter(facts: Facts) -> dict[str, Any]:
    """What programs read of the card."""
    matter: dict[str, Any] = {"license": "unknown", "library_name": "saint-g", "tags": ["saint-g", "adapter"]}
    if facts.hub_name:
        matter |= {"base_model": facts.hub_name, "base_model_relation": "adapter"}
    if domains := sorted({name.partition("/")[0] for name in facts.data}):
        matter["datasets"] = domains
    if facts.result is not None:
        metrics = _metrics(facts.result)
        matter |= {"metrics": sorted({str(one["metrics"][0]["type"]) for one in metrics})}
        matter["model-index"] = [{"name": facts.name, "results": metrics}]
    return matter


def check_model_card(card: str) -> None:
    """Whether the Hub would take it, as far as that can be said without asking the Hub.

    Raises:
        ExportError: It would not; the message says why.
    """
    problems = list(_problems(card))
    if problems:
        raise ExportError(f"the model card is not one that the Hub reads: {problems[0]}; report it")


def _problems(card: str) -> list[str]:
    lines = card.split("\n")
    if lines[0] != _FENCE or _FENCE not in lines[1:]:
        return ["it does not begin with front matter between two lines of ---"]
    matter: dict[str, Any] = {}
    for line in lines[1 : lines.index(_FENCE, 1)]:
        key, _, value = line.partition(": ")
        matter[key] = json.loads(value)
    problems = [f"{name!r} is missing" for name in _REQUIRED if name not in matter]
    if ("base_model" in matter) != ("base_model_relation" in matter):
        problems.append("base_model and base_model_relation need each other")
    for model in matter.get("model-index", []):
        problems += [
            f"a result of {model['name']!r} lacks task, dataset or metrics"
            for one in model["results"]
            if not {"task", "dataset", "metrics"} <= one.keys() or not {"name", "type"} <= one["dataset"].keys()
        ]
    return problems


def _front_matter(facts: Facts) -> str:
    """One key a line, its value as JSON, which is YAML as well: no text of anybody's can change its structure."""
    lines = [f"{key}: {_as_yaml(value)}" for key, value in front_matter(facts).items()]
    return "\n".join([_FENCE, *lines, _FENCE, ""])


def _as_yaml(value: Any) -> str:
    """JSON with what YAML calls unprintable escaped; beyond U+FFFF JSON has no escape that YAML reads as well."""
    spelled = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(
        one if one.isprintable() else f"\\u{ord(one):04x}" if ord(one) <= _LAST_ESCAPED else "\N{REPLACEMENT CHARACTER}"
        for one in spelled
    )


def _metrics(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    [arm] = [arm for arm in result["arms"] if arm["name"] == "grafts"]
    grown = result["grown_domain"]
    found = [_metric(grown, "bits_per_byte_saved", arm["gain_bpb"], result)]
    return found + [_metric(suite, "bits_per_byte_lost", lost, result) for suite, lost in arm["regression_bpb"].items()]


def _metric(suite: str, sort: str, interval: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    args = {"low": interval["low"], "high": interval["high"], "num_documents": interval["num_documents"]}
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": suite, "type": suite, "split": result["split"]},
        "metrics": [{"type": sort, "value": interval["estimate"], "name": sort.replace("_", " "), "args": args}],
    }


def _page(facts: Facts) -> str:
    state = facts.state
    parts = [
        f"# {plain(facts.name)}",
        "",
        _opening(facts),
        "",
        *table(
            ("composition", "base", "head of the ledger"), [(facts.composition, state.base, facts.head)], quoted=True
        ),
        "## Grafts",
        "",
        *table(_HEADS, [_row(entry) for entry in (*facts.standing, *facts.gone)]),
        _GAINS,
        "",
        "## Result",
        "",
        *_result(facts),
        "## Text",
        "",
        *table(("text", "documents", "bytes", "licence"), [_text_row(name, one) for name, one in facts.data.items()]),
        "## Not recorded",
        "",
        *(f"- {plain(one)}: not recorded" for one in not_recorded(facts)),
        "",
    ]
    return "\n".join(parts)


def _opening(facts: Facts) -> str:
    num, base = len(facts.standing), plain(facts.hub_name or facts.base.get("architecture") or "a base")
    return (
        f"{num} graft{'' if num == 1 else 's'} on {base}, each measured and judged before it came to stand, and each "
        "removable. Written from the ledger of their registry; what that does not hold is named below."
    )


_GAINS = (
    "Gains are bits per byte saved on development text, with intervals over documents. Sealed text gave one bit to "
    "each decision that asked it, and nothing else."
)
_HEADS = ("graft", "status", "kind", "parameters", "gain", "judged", "entry")


def _row(entry: Entry) -> tuple[str, ...]:
    gain, status = entry.evidence.gain_bpb, entry.status + (", unvalidated" if entry.unvalidated else "")
    reason = f": {entry.rollback_reason}" if entry.rollback_reason else ""
    return (
        entry.digest[:12],
        f"{status}{reason}",
        entry.candidate.kind,
        f"{entry.evidence.cost.num_params:,}",
        f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        entry.time,
        str(entry.number),
    )


def _result(facts: Facts) -> list[str]:
    if facts.result is None:
        return ["On the vault: not recorded for what stands now.", ""]
    rows = [
        (arm["name"], f"{arm['num_params']:,}", f"{arm['train_tokens']:,}", f"{arm['gain_bpb']['estimate']:+.4f}")
        for arm in facts.result["arms"]
    ]
    heads = ("", "parameters", "tokens", f"bits per byte saved on {facts.result['grown_domain']}/vault")
    return table(heads, rows)


def _text_row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    return name, f"{one['num_documents']:,}", f"{one['num_bytes']:,}", one.get("license") or "not recorded"
