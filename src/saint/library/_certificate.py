"""What is said of a published graft, all of it from the ledger of the registry that it comes from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from saint import records
from saint.errors import ConfigError
from saint.library._licence import LOOKS_LIKE_SPDX
from saint.records import BaseIdentity, Decision, Evidence, Outcome, composition_digest
from saint.statements import NOT_RECORDED, STATEMENT

CERTIFICATE = "urn:saint-g:graft-certificate:v1"
_COMPETENCE = re.compile(r"[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,3}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What the graft is for."""

    digest: str
    """Over the three digests of the identity."""
    identity: BaseIdentity
    name: str = NOT_RECORDED
    """By which others find it on the hub."""
    revision: str = NOT_RECORDED
    architecture: str = NOT_RECORDED
    num_params: int = 0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """The graft's file."""

    num_bytes: int
    dtypes: tuple[str, ...]
    """Of its tensors, as safetensors spells them."""
    content: str
    """Digest of its tensors, whatever file they are in."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Text that the graft learnt from."""

    digest: str
    num_documents: int
    num_bytes: int
    licence: str = NOT_RECORDED


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What the graft was made with."""

    version: str = NOT_RECORDED
    """Of saint-g."""
    code: str = NOT_RECORDED
    """Digest of saint-g's own modules, gates included."""
    as_of: str
    """The trial, or the start of the registry."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where all this is written, for whoever gets to see that registry."""

    origin: str
    """The registry's name."""
    entry: int
    """Number of the ledger's entry that records the judgement."""
    entry_digest: str
    judged: str
    """When; UTC."""
    num_entries: int
    """How long the ledger was when the certificate was made."""
    root: str
    """Merkle root over these entries, as a checkpoint of that size has it."""
    as_of: str
    """Time of the last of them."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """One graft as one registry knows it; what was measured and decided stands here as its ledger has it."""

    graft: str
    """SHA-256 of its file."""
    competences: tuple[str, ...]
    """What it is good for, as whoever published it says: an open set of names in lower case."""
    licence: str
    """Of the graft, as an SPDX expression."""
    base: Base
    composition: str
    """Digest of the base and the grafts that it was measured on, which `evidence.stack` names in their order."""
    evidence: Evidence
    """Gain, retention, safety, conflicts, cost, kind, options and sites."""
    decision: Decision
    """What each gate said, what sealed text was asked, and the one bit that came back."""
    policy: str
    """Digest of what it was decided by."""
    num_approvals: int
    """How many people approved of it."""
    validated_on: tuple[str, ...] | None
    """What stood below it when it was judged again, if it was and passed; its figures were measured before."""
    file: File
    trained: str
    """Here, elsewhere, or not recorded."""
    data: Mapping[str, Text]
    """domain/split -> the text that it learnt from; empty where that is not recorded."""
    software: Software
    source: Source
    keys: Mapping[str, str] = field(default_factory=dict)
    """Key id -> the public key, in base64, of everybody who signs this."""

    def __post_init__(self) -> None:
        """Refuse a certificate that contradicts itself."""
        must_be_competences(self.competences)
        if not LOOKS_LIKE_SPDX.fullmatch(self.licence):
            raise ConfigError(f"licence {self.licence!r:.80} is no SPDX expression; one is expected, as Apache-2.0 is")
        digests = (self.graft, self.base.digest, self.composition, *self.evidence.stack, *(self.validated_on or ()))
        if wrong := [one for one in digests if not _DIGEST.fullmatch(one)]:
            raise ConfigError(f"{wrong[0]!r:.80} stands where a SHA-256 digest has to")
        identity = self.base.identity
        parts = {"weights": identity.weights, "config": identity.config, "tokenizer": identity.tokenizer}
        for what, said, found in (
            ("graft", self.graft, self.evidence.graft),
            ("base", self.base.digest, records.digest(parts)),
            ("base of the evidence", self.evidence.base, self.base.digest),
            ("composition", self.composition, composition_digest(self.base.digest, self.evidence.stack)),
        ):
            if said != found:
                raise ConfigError(f"its {what} is {said[:12]} in one place and {found[:12]} in another")
        if not self._is_accepted:
            raise ConfigError("the decision in it accepts nothing, and only what was accepted is published")

    @property
    def _is_accepted(self) -> bool:
        if self.decision.outcome is Outcome.ACCEPT:
            return True
        waited = self.decision.outcome is Outcome.DEFER and self.decision.passed
        return waited and 0 < self.decision.approvals <= self.num_approvals

    def to_payload(self) -> bytes:
        """The in-toto Statement that is signed, in canonical JSON."""
        statement: dict[str, Any] = {
            "_type": STATEMENT,
            "subject": [{"name": f"graft-{self.graft[:12]}", "digest": {"sha256": self.graft}}],
            "predicateType": CERTIFICATE,
            "predicate": self,
        }
        return records.to_canonical(statement).encode()


def must_be_competences(names: tuple[str, ...]) -> None:
    """Refuse what cannot name a competence.

    Raises:
        ConfigError: None is given, one is given twice, they are not in order, or one has another form.
    """
    for name in names:
        if not _COMPETENCE.fullmatch(name):
            raise ConfigError(
                f"{name!r:.80} names no competence; use up to 32 lower-case letters and digits, such as code, with up "
                "to three dashes"
            )
    if not names or list(names) != sorted(set(names)):
        raise ConfigError("a certificate names at least one competence, each once and in order; name one, such as code")
