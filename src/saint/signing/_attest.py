"""Signing what is written into a ledger."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, final

from saint.errors import KeyFileError, SignatureError
from saint.registry import Event, Registry, Signers
from saint.signing._change import log_key
from saint.signing._course import Course
from saint.signing._envelope import IN_TOTO, Envelope, read_envelope, sign, verify
from saint.signing._key import Keyring, key_path, keys_folder, load_key, make_key
from saint.signing._log_keys import log_keys
from saint.signing._pinned import forget, must_not_go_back, remember, remembered
from saint.signing._statement import CONTEXT, Claim, claims
from saint.signing._trust import Trust, embedded_trust, moment, sign_trust

_LOCAL = "local"


def sign_entries(registry: Registry, *, given: Envelope | None = None, valid_until: str = "") -> None:
    """Have what is written into the registry from now on signed by this machine's keys, as its trust file asks.

    A registry without a trust file gets one with its next signed entry: a key of this machine, made if there is none,
    then has all roles. Reading stays as it is.

    Args:
        given: An approval that was signed elsewhere, to be put into the ledger.
        valid_until: When approvals that are signed expire; "" for never.
    """
    attester = Attester(registry, given=given, valid_until=valid_until)
    registry.ledger.attest, registry.ledger.withdraw = attester, attester.withdraw
    registry.seal.signer = lambda: log_key(registry)
    registry.seal.may_sign = lambda: _signers(registry)


def _signers(registry: Registry) -> Signers:
    origin = registry.origin
    keys = log_keys(origin, registry.ledger.past(), registry.payload)
    return Signers(keys=keys, is_known=bool(origin) and remembered(origin) is not None)


def sign_approval(registry: Registry, judgement: int, *, by: str, reason: str, valid_until: str = "") -> Envelope:
    """Approve of a judgement without writing it into the ledger: for `sign_entries` wherever the registry is.

    Args:
        judgement: Number of the judgement's entry.

    Raises:
        KeyFileError: No key of this machine may approve.
    """
    past = registry.ledger.events()
    body = {"graft": past[judgement].body["graft"], "judgement": judgement, "by": by, "reason": reason}
    found = Attester(registry, valid_until=valid_until)("approved", body, past)
    return read_envelope(found["attestations"][0])


@final
class Attester:
    """Makes the signed statements of an entry that is about to be written."""

    def __init__(self, registry: Registry, *, given: Envelope | None = None, valid_until: str = "") -> None:
        self._registry, self._given, self._valid_until = registry, given, valid_until
        self._course: Course | None = None
        self._keys = Keyring()
        self._begun: Trust | None = None
        """The first trust file, if this one made it and has not seen yet whether another process was faster."""

    def __call__(self, name: str, body: Mapping[str, Any], past: Sequence[Event]) -> dict[str, list[bytes]]:
        """Key of the entry's body -> contents whose digests it is to have there; nothing for what nobody signs.

        Raises:
            KeyFileError: No key of this machine may sign it.
            SignatureError: The approval that was given is for something else or has expired.
        """
        if not past and not self._registry.origin:
            return {}  # a registry from before they had names, which its first entry gives it
        course = self._read(past)
        asked = claims(name, body, course)
        if not asked:
            return {}
        found: dict[str, list[bytes]] = {}
        trust = course.trust
        if trust is None:
            trust, content = self._begin(course)
            found["trust"] = [content]
        signed = [self._signed(claim, course, trust) for claim in asked]
        if name == "approved" and not trust.is_embedded:
            self._must_be_another(body, past, signed[0], trust, at=course.clock)
        found["attestations"] = [envelope.to_bytes() for envelope in signed]
        return found

    def withdraw(self) -> None:
        """Forget the first trust file if the entry that was to bring it was refused: it never was in force."""
        if self._begun is not None:
            forget(self._begun)
            self._begun = None

    def _read(self, past: Sequence[Event]) -> Course:
        """The ledger up to now; entries that were read before are not read again."""
        if self._course is None or self._course.num_read > len(past):
            self._course = Course(self._registry.origin, self._registry.payload)
            known = remembered(self._registry.origin)
            self._course.read(past)
            must_not_go_back(self._course.trust, known, past=self._course.trusts)
        else:
            self._course.read(past[self._course.num_read :])
        if self._begun is not None and self._course.trust is not None:
            if self._course.trust.digest != self._begun.digest:  # another machine was faster: ours never was in force
                forget(self._begun)
            self._begun = None
        return self._course

    def _begin(self, course: Course) -> tuple[Trust, bytes]:
        """The first trust file: one key of this machine for everything."""
        path = key_path(_LOCAL)
        if not path.exists():
            with suppress(KeyFileError):  # another process was faster
                make_key(path)
        key = load_key(path)
        self._begun = embedded_trust(course.origin, key)
        remember(self._begun)
        return self._begun, sign_trust(self._begun, key).to_bytes()

    def _signed(self, claim: Claim, course: Course, trust: Trust) -> Envelope:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        clock = max(course.clock, now, key=moment)
        counting = trust.keys_of(claim.role, at=clock)
        threshold = trust.threshold_of(claim.role)
        if self._given is not None and claim.role == "approver":
            must_say(self._given, claim, origin=course.origin, at=clock)
            verify(self._given, counting, threshold=1)
            return self._given
        ids = {key.key_id for key in counting}
        mine = self._keys.of(ids)
        needed = 1 if claim.role == "approver" else threshold  # people approve one after the other
        if len(mine) < needed:
            raise KeyFileError(
                f"this takes {needed} keys of role {claim.role} that have not expired, and {keys_folder()} has "
                f"{len(mine)} of the {len(ids)} there are; bring the key's file, or have root change the roles"
            )
        expires = self._valid_until if claim.role == "approver" else ""
        return sign(IN_TOTO, claim.payload(course.origin, time=now, expires=expires), *mine)

    def _must_be_another(
        self, body: Mapping[str, Any], past: Sequence[Event], envelope: Envelope, trust: Trust, *, at: str
    ) -> None:
        """Where roles are apart, a key approves of a judgement once, by whatever name; and enough of them must."""
        before = [one for one in past if one.name == "approved" and one.body["judgement"] == body["judgement"]]
        said = [
            read_envelope(self._registry.payload(digest))
            for one in before
            for digest in one.body.get("attestations", [])
        ]
        keys = trust.keys_of("approver", at=at)
        earlier = frozenset[str]().union(*(one.signers(keys) for one in said))
        now = envelope.signers(keys)
        if now & earlier:
            raise SignatureError(
                f"key {min(now & earlier)[:12]} approved of this judgement before; another approver's key must sign"
            )
        needed = trust.threshold_of("approver")
        wanted = past[body["judgement"]].body["decision"]["approvals"]
        if len(before) + 1 >= wanted and len(now | earlier) < needed:
            raise SignatureError(
                f"the trust file wants {needed} approvers, and the policy lets it stand after {wanted}; raise "
                "approvals in the policy, or let several keys sign one approval"
            )


def must_say(envelope: Envelope, claim: Claim, *, origin: str, at: str) -> None:
    """Refuse an envelope that says anything else than a claim, or says it too late.

    Args:
        at: The time by which it must not have expired.

    Raises:
        SignatureError: It does.
    """
    try:
        found = json.loads(envelope.payload)
        context = found["predicate"][CONTEXT]
        time, expires = str(context["time"]), str(context["expires"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise SignatureError(f"an attestation is no statement of saint-g ({error}); restore it from a copy") from error
    if envelope.payload_type != IN_TOTO:
        raise SignatureError(f"an attestation has the type {envelope.payload_type}, and {IN_TOTO} is expected")
    if claim.payload(origin, time=time, expires=expires) != envelope.payload:
        raise SignatureError(f"an attestation is about something else: {_difference(found, claim, origin)}")
    if expires and moment(at) > moment(expires):
        raise SignatureError(f"an attestation expired at {expires}; have it signed again")


def _difference(found: Any, claim: Claim, origin: str) -> str:
    """The first thing that an envelope says other than it has to, for people."""
    predicate = found["predicate"]
    if (there := predicate[CONTEXT].get("origin")) != origin:
        return f"it is for registry {there}, and this is {origin}"
    if found.get("predicateType") != claim.predicate_type:
        return f"it is a {found.get('predicateType')}, and {claim.predicate_type} is expected"
    for name, value in claim.predicate.items():
        if json.loads(json.dumps(value)) != predicate.get(name):
            return f"its {name} is {_short(predicate.get(name))}, and {_short(value)} is expected"
    return "its subject is another one"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
