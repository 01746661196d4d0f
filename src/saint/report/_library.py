"""What a library of grafts has, as tables and lines for a terminal, from certificates as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._marks import interaction_lines, safety_lines
from saint.report._spelling import signed_by, spell
from saint.report._text import add_row

_NONE = "none"


def library_table(rows: Sequence[Mapping[str, Any]], *, registry: str = "") -> Table:
    """One row for each certificate.

    Args:
        rows: Each a `certificate`, its `signers`, and its `fit` where `registry` is given.
        registry: What the last column is about; "" for no such column.
    """
    table = Table(title="Grafts, as their certificates have them", title_justify="left")
    columns = [
        "graft",
        "competence",
        "kind",
        "params",
        "gain, bits/byte",
        "safety",
        "on a stack of",
        "licence",
        "signer",
    ]
    for column in [*columns, *([f"for {registry}"] if registry else [])]:
        table.add_column(Text(column))
    for row in rows:
        said = row["certificate"]
        evidence = said["evidence"]
        add_row(
            table,
            said["graft"][:12],
            ", ".join(said["competences"]),
            evidence["candidate"]["kind"],
            f"{evidence['cost']['num_params']:,}",
            f"{evidence['grown']} {spell(evidence['gain_bpb'])}",
            _safety(evidence),
            str(len(evidence["stack"])),
            said["licence"],
            signed_by(row["signers"]),
            *([_fit(row["fit"], said)] if registry else []),
        )
    return table


def certificate_lines(row: Mapping[str, Any]) -> list[RenderableType]:
    """All that a certificate says."""
    said = row["certificate"]
    evidence = said["evidence"]
    lines = [
        f"graft        {said['graft']}",
        f"competence   {', '.join(said['competences'])}",
        f"licence      {said['licence']}",
        *_where_from(row),
        f"base         {_base(said['base'])}",
        f"measured on  {_below(evidence['stack'])}, composition {said['composition'][:12]}",
        *([] if said["validated_on"] is None else [f"and again on {_below(said['validated_on'])}"]),
        f"kind         {evidence['candidate']['kind']} {_options(evidence['candidate']['options'])}",
        f"parameters   {evidence['cost']['num_params']:,}, of {', '.join(said['file']['dtypes'])}",
        f"file         {said['file']['num_bytes']:,} bytes, content {said['file']['content'][:12]}",
        f"trained      {said['trained']}, with {_software(said['software'])}",
        *_data(said["data"]),
        *_measured(evidence),
        f"sealed text  {_asked(said['decision'])}",
        f"policy       {said['policy'][:12]}, {said['num_approvals']} approvals",
    ]
    verdicts = Table(title="Gates", title_justify="left")
    for column in ("gate", "verdict", "reason"):
        verdicts.add_column(Text(column))
    for verdict in said["decision"]["verdicts"]:
        add_row(verdicts, verdict["gate"], verdict["outcome"], verdict["reason"])
    return [*map(Text, lines), verdicts]


def beside_table(certificate: Mapping[str, Any], local: Mapping[str, Any]) -> Table:
    """What a certificate says beside what was found here, on other text perhaps; the decision is of what was found.

    Args:
        local: The judgement here, as `summarise` has it.
    """
    theirs = certificate["evidence"]
    table = Table(title="The certificate beside this registry, which alone decides", title_justify="left")
    for column in ("", "certificate", "here"):
        table.add_column(Text(column))
    pairs = [(f"gain on {theirs['grown']}", theirs["gain_bpb"], None)]
    if local["grown"] == theirs["grown"]:
        pairs = [(f"gain on {theirs['grown']}", theirs["gain_bpb"], local["gain_bpb"])]
    else:
        pairs.append((f"gain on {local['grown']}", None, local["gain_bpb"]))
    for suite in _both(theirs["drift_bpb"], local["drift_bpb"]):
        pairs.append((f"{suite} lost in all", theirs["drift_bpb"].get(suite), local["drift_bpb"].get(suite)))
    for suite in _both(theirs["safety"], local["safety"]):
        rises = [one["safety"].get(suite, {}).get("rise") for one in (theirs, local)]
        pairs.append((f"{suite} rises by", rises[0], rises[1]))
    for name, said, found in pairs:
        add_row(table, name, spell(said), spell(found))
    add_row(table, "measured on a stack of", str(len(theirs["stack"])), str(len(local["stack"])))
    add_row(table, "status", "stands", local["status"])
    return table


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))


def _where_from(row: Mapping[str, Any]) -> list[str]:
    source = row["certificate"]["source"]
    return [
        f"signed by    {signed_by(row['signers'])}",
        f"certificate  {row['digest']}",
        f"from         registry {source['origin']}",
        f"judged       {source['judged']}, entry {source['entry']} ({source['entry_digest'][:12]})",
        f"checkpoint   {source['num_entries']} entries, root {source['root']}",
    ]


def _base(base: Mapping[str, Any]) -> str:
    identity = base["identity"]
    parts = [f"{part} {(identity[part] or _NONE)[:12]}" for part in ("weights", "config", "tokenizer")]
    parts += [f"quantised {identity['quantization']}"] if identity["quantization"] else []
    return f"{base['name']}, {base['architecture']}, {base['digest'][:12]} ({', '.join(parts)})"


def _data(data: Mapping[str, Any]) -> list[str]:
    if not data:
        return ["learnt from  not recorded"]
    return [
        f"learnt from  {name} {one['digest'][:12]}: {one['num_documents']:,} documents, {one['num_bytes']:,} bytes, "
        f"licence {one['licence']}"
        for name, one in data.items()
    ]


def _measured(evidence: Mapping[str, Any]) -> list[str]:
    gain = evidence["gain_bpb"]
    return [
        f"gain         {evidence['grown']} {spell(gain)} bits per byte, {gain['num_documents']} documents",
        *(
            f"{suite:<12} loses {spell(lost)}, with the whole stack {spell(evidence['drift_bpb'].get(suite))}"
            for suite, lost in evidence["regression_bpb"].items()
        ),
        *(safety_lines(evidence) or ["safety       not measured"]),
        *interaction_lines(evidence["interactions"]),
    ]


def _asked(decision: Mapping[str, Any]) -> str:
    if (query := decision["query"]) is None:
        return "was not asked"
    claims = ", ".join(f"{one['gate']}: {one['suite']} against the {one['against']}" for one in query["claims"])
    return f"{'showed' if decision['passed'] else 'did not show'} {claims or 'nothing, as nothing was claimed'}"


def _safety(evidence: Mapping[str, Any]) -> str:
    measured, missing = len(evidence["safety"]), len(evidence["unmeasured"])
    if not measured and not missing:
        return "not measured"
    return f"{measured} suites{f', {missing} not measured' if missing else ''}"


def _fit(fit: Mapping[str, Any], certificate: Mapping[str, Any]) -> str:
    if fit["differs"]:
        return f"other base: {fit['differs']}"
    if fit["status"]:
        return f"judged there: {fit['status']}"
    if fit["missing"]:
        return f"same base, needs {', '.join(one[:12] for one in fit['missing'])} below it"
    return f"same base{', and what it was measured on' if certificate['evidence']['stack'] else ''}"


def _below(stack: Sequence[str]) -> str:
    return ", ".join(one[:12] for one in stack) or "the bare base"


def _software(said: Mapping[str, Any]) -> str:
    return f"saint-g {said['version']}, code {said['code'][:12]}, as of {said['as_of']}"


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
