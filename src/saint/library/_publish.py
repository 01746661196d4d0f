from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, final

from saint import config
from saint.errors import LibraryError, RemoteContentError
from saint.library._certificate import Base, Certificate, File, Software, Source, Text, must_be_competences
from saint.library._layout import MOST_CERTIFICATE_BYTES, begin
from saint.library._licence import must_be_licence
from saint.library._listed import read_certificate
from saint.records import BaseIdentity, composition_digest
from saint.registry import Entry, MerkleTree, Registry, State
from saint.remotes import Remote, blob_name, certificate_name
from saint.signing import IN_TOTO, Key, evaluator_keys, sign, spell
from saint.statements import NOT_RECORDED, learnt_from, trained_where, training_of
from saint.weights import check_weights


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What came to a library."""

    certificate: Certificate
    digest: str
    """SHA-256 of the certificate's file."""
    is_new: bool
    """False when this very certificate was there already."""


def publish(registry: Registry, graft: str, remote: Remote, *, competences: Sequence[str], licence: str) -> Published:
    """Put a graft that stands, with its certificate, into a library; the library is made if there is none.

    First the graft, then the certificate that speaks of it. Nothing that is there is written over, so that two who
    publish at once both have done so. An unchanged registry gives the same certificate again.

    Args:
        graft: The beginning of its digest.
        competences: What it is good for.
        licence: Of the graft, as an SPDX expression.

    Raises:
        ConfigError: A competence or the licence is none.
        GraftFileError: Its file is one that nobody would take from elsewhere.
        KeyFileError: No key of this machine may sign for the registry.
        LibraryError: The graft does not stand as it was judged, or a registry is there.
        RemoteError: The library cannot be written.
    """
    names = tuple(sorted(set(competences)))
    must_be_competences(names)
    licence = must_be_licence(licence)
    entry = registry.entry(graft)
    state = registry.state
    _must_be_publishable(entry, state)
    keys = evaluator_keys(registry)
    content = registry.payload(entry.digest)
    certificate = _certify(registry, entry, state, _file(content), competences=names, licence=licence, keys=keys)
    signed = sign(IN_TOTO, certificate.to_payload(), *keys).to_bytes()
    read_certificate(signed, where=f"the certificate of graft {entry.digest[:12]}")
    if len(signed) > MOST_CERTIFICATE_BYTES:
        raise LibraryError(f"the certificate takes {len(signed):,} bytes, more than {MOST_CERTIFICATE_BYTES:,}")
    digest = sha256(signed).hexdigest()
    begin(remote)
    _bring(remote, blob_name(entry.digest), content)
    is_new = _bring(remote, certificate_name(entry.digest, digest), signed)
    remote.finish()
    return Published(certificate=certificate, digest=digest, is_new=is_new)


def _must_be_publishable(entry: Entry, state: State) -> None:
    name = entry.digest[:12]
    if entry.digest in state.quarantined:
        raise LibraryError(f"graft {name} is in quarantine ({state.quarantined[entry.digest]}); publish another")
    if entry.digest not in state.standing:
        reason = f" ({entry.rollback_reason})" if entry.rollback_reason else ""
        why = [f"{one.gate}: {one.reason}" for one in entry.decision.verdicts if one.outcome != "accept"]
        said = f"; {why[0]}" if entry.status in ("rejected", "deferred") and why else ""
        raise LibraryError(
            f"graft {name} is {entry.status}{reason}, and only grafts that stand are published{said}"
            if entry.status != "waits for approval"
            else f"graft {name} waits for approval; publish it when it stands, after `saint approve`"
        )
    if entry.unvalidated:
        raise LibraryError(
            f"graft {name} is unvalidated: what it was judged on has changed, so its figures do not hold; judge it "
            "again on what stands with `saint rejudge` first"
        )
    if not state.created.get("base", {}).get("identity"):
        raise LibraryError(
            "this registry was made without `saint init`, so nobody could tell which base a graft is for"
        )


def _certify(
    registry: Registry,
    entry: Entry,
    state: State,
    file: File,
    *,
    competences: tuple[str, ...],
    licence: str,
    keys: Sequence[Key],
) -> Certificate:
    trial = training_of(entry, state)
    return Certificate(
        graft=entry.digest,
        competences=competences,
        licence=licence,
        base=_base(state),
        composition=composition_digest(entry.evidence.base, entry.evidence.stack),
        evidence=entry.evidence,
        decision=entry.decision,
        policy=_policy(entry, state),
        num_approvals=len(state.approved.get(entry.number, [])),
        validated_on=entry.validated_on,
        file=file,
        trained=trained_where(entry, state),
        data=_text(state) if trial is not None else {},
        software=_software(state, trial),
        source=_source(registry, entry),
        keys={key.key_id: spell(key.public_key) for key in keys},
    )


def _file(content: bytes) -> File:
    """As strict as whoever fetches it will be."""
    weights = check_weights(content)
    dtypes = {spec.dtype for spec in weights.tensors.values()}
    return File(num_bytes=len(content), dtypes=tuple(sorted(dtypes)), content=weights.content_digest)


def _base(state: State) -> Base:
    said = state.created["base"]
    return Base(
        digest=state.base,
        identity=config.build(said["identity"], BaseIdentity, where="the ledger"),
        name=NOT_RECORDED if said.get("local", True) else said["source"],  # a path says nothing to others
        revision=said.get("revision") or NOT_RECORDED,
        architecture=said.get("architecture", NOT_RECORDED),
        num_params=said.get("num_params", 0),
    )


def _policy(entry: Entry, state: State) -> str:
    if entry.decision.query is not None:
        return entry.decision.query.policy
    known = state.policy
    return str(known["digest"]) if known and known["number"] < entry.number else NOT_RECORDED


def _text(state: State) -> dict[str, Text]:
    return {
        name: Text(
            digest=one["digest"],
            num_documents=one["num_documents"],
            num_bytes=one["num_bytes"],
            licence=one.get("license") or NOT_RECORDED,
        )
        for name, one in learnt_from(state).items()
    }


def _software(state: State, trial: Mapping[str, Any] | None) -> Software:
    then = (trial or {}).get("environment") or {}
    said = then or state.created
    return Software(
        version=said.get("versions", {}).get("saint-g") or NOT_RECORDED,
        code=said.get("code") or NOT_RECORDED,
        as_of="the trial" if then else "the start of the registry",
    )


def _source(registry: Registry, entry: Entry) -> Source:
    events, tree = registry.ledger.events(), MerkleTree()
    for event in events:
        tree.append(bytes.fromhex(event.leaf))
    return Source(
        origin=registry.origin,
        entry=entry.number,
        entry_digest=events[entry.number].digest,
        judged=entry.time,
        num_entries=len(events),
        root=tree.root().hex(),
        as_of=events[-1].time,
    )


def _bring(remote: Remote, name: str, content: bytes) -> bool:
    """Create a file; False when it is there already, with the same content."""
    if remote.create(name, content):
        return True
    if remote.get(name, len(content)) != content:
        raise RemoteContentError(f"{remote.address} holds something else as {name}; publish to another library")
    return False
