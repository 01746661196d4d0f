"""in-toto Statements v1: what is claimed of which things, known by their digests, and the strict check of their shape.

Sources: in-toto attestation framework, spec v1 (Statement, ResourceDescriptor); SLSA provenance v1; in-toto test-result
v0.1. Unlike these, which let readers skip unknown fields, nothing unknown passes: a field that nobody checks proves
nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from saint import records
from saint.errors import StatementError
from saint.statements._shape import Shape, anything, fields, list_of, mapping_of, one_of, optional, text, truth, whole

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
DECISION = "urn:saint-g:decision:v1"
NOT_RECORDED = "not recorded"
"""What every export says of a fact that the ledger does not hold."""

_digest = text(r"[0-9a-f]{64}", called="64 hexadecimal digits in lower case")
_uri = text(r"[a-z][a-z0-9+.-]*:\S+", called="a URI")
_time = text(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", called="a time as RFC 3339 has it, with its zone"
)
_digests = fields({"sha256": _digest})
_resource_fields = fields(
    {}, {"name": text(), "uri": _uri, "digest": _digests, "mediaType": text(), "annotations": mapping_of(anything)}
)


def _resource(value: Any, where: str) -> Iterator[str]:
    yield from _resource_fields(value, where)
    if isinstance(value, Mapping) and not {"uri", "digest"} & value.keys():
        yield f"{where}: 'uri' or 'digest' is missing"


_resources = list_of(_resource)

_PREDICATES: Mapping[str, Shape] = MappingProxyType(
    {
        PROVENANCE: fields(
            {
                "buildDefinition": fields(
                    {"buildType": _uri, "externalParameters": mapping_of(anything)},
                    {"internalParameters": mapping_of(anything), "resolvedDependencies": _resources},
                ),
                "runDetails": fields(
                    {"builder": fields({"id": _uri}, {"version": mapping_of(text())})},
                    {
                        "metadata": fields({}, {"invocationId": text(), "startedOn": _time, "finishedOn": _time}),
                        "byproducts": _resources,
                    },
                ),
            }
        ),
        TEST_RESULT: fields(
            {"result": one_of("PASSED", "WARNED", "FAILED"), "configuration": _resources},
            {
                "url": _uri,
                "passedTests": list_of(text()),
                "warnedTests": list_of(text()),
                "failedTests": list_of(text()),
            },
        ),
        DECISION: fields(
            {
                "outcome": one_of("accept", "defer", "reject"),
                "passed": truth,
                "verdicts": list_of(
                    fields({"gate": text(), "outcome": one_of("accept", "defer", "reject"), "reason": text(r"(?s).*")})
                ),
                "base": _digest,
                "parentComposition": _digest,
                "stack": list_of(_digest),
                "policy": optional(_digest),
                "query": optional(
                    fields(
                        {
                            "holdout": _digest,
                            "number": whole(at_least=1),
                            "numPassedBefore": whole(),
                            "logThreshold": anything,
                            "claims": list_of(mapping_of(anything)),
                        }
                    )
                ),
                "losses": optional(_digest),
                "risk": optional(text()),
                "approvalsNeeded": whole(),
                "approvals": list_of(fields({"by": text(), "reason": text(r"(?s).*"), "on": _time, "entry": whole()})),
                "entry": whole(),
                "decidedOn": _time,
            }
        ),
    }
)

_STATEMENT_FIELDS = fields(
    {
        "_type": one_of(STATEMENT),
        "subject": list_of(fields({"digest": _digests}, {"name": text()}), at_least=1),
        "predicateType": one_of(*_PREDICATES),
        "predicate": mapping_of(anything, at_least=1),
    }
)


def statement(subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Claim something of some things.

    Args:
        subjects: Name -> SHA-256, in hexadecimal.
        predicate_type: What sort of claim it is, as a URI.

    Raises:
        StatementError: That sort of claim has another shape.
    """
    made = {
        "_type": STATEMENT,
        "subject": [resource(name, digest) for name, digest in subjects.items()],
        "predicateType": predicate_type,
        "predicate": records.to_plain(predicate),
    }
    must_be_statement(made)
    return made


def must_be_statement(record: Any) -> None:
    """Refuse what is not a statement of a sort that is known here, complete and without anything besides.

    Raises:
        StatementError: It is not; the message says where.
    """
    problems = list(_STATEMENT_FIELDS(record, "statement"))
    if not problems:
        problems += _PREDICATES[record["predicateType"]](record["predicate"], "statement.predicate")
    if not problems:
        try:
            records.to_canonical(record)
        except (TypeError, ValueError) as error:
            problems.append(f"statement: cannot be spelled as JSON ({error})")
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise StatementError(f"{problems[0][:300]}{more}; have it made again by the version of saint-g that signed it")


def resource(name: str, digest: str, **annotations: Any) -> dict[str, Any]:
    """A thing that a statement speaks of, known by its digest; what is said besides is no part of its identity."""
    described: dict[str, Any] = {"name": name, "digest": {"sha256": digest}}
    return described | ({"annotations": annotations} if annotations else {})


def resources(named: Mapping[str, str], *, what: str) -> Sequence[dict[str, Any]]:
    """Several things whose digests are of the same sort of content, which `what` names."""
    return [resource(name, digest, digestOf=what) for name, digest in named.items()]
