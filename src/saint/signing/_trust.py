"""Whose signatures count for what, and how that may change: the rules of TUF's root file, for one registry."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, final, get_args

from saint import config, records
from saint.errors import ConfigError, SaintError, SignatureError
from saint.signing._envelope import Envelope, sign
from saint.signing._key import Key, PublicKey

Role = Literal["root", "proposer", "evaluator", "approver", "log"]
ROLES: tuple[Role, ...] = get_args(Role)
_APART: tuple[Role, ...] = ("proposer", "evaluator", "approver")
TRUST = "application/vnd.saint-g.trust+json"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Who has a role."""

    keys: tuple[str, ...]
    """Ids of keys."""
    threshold: int = 1
    """How many different ones must sign."""
    expires: str = ""
    """UTC, ISO 8601; after it the role's signatures do not count. "" for never."""

    def __post_init__(self) -> None:
        """Refuse what nobody could keep."""
        if len(set(self.keys)) != len(self.keys):
            raise ConfigError("a role names a key twice; a threshold counts different keys, so name each once")
        if not 1 <= self.threshold <= len(self.keys):
            raise ConfigError(f"a role has {len(self.keys)} keys and threshold {self.threshold}; give it 1 to as many")
        if self.expires:
            moment(self.expires)

    def holds_at(self, time: str) -> bool:
        """Whether it has not expired then."""
        return not self.expires or moment(time) <= moment(self.expires)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """Whose signatures count for what in one registry; a new version replaces the one before it."""

    origin: str
    version: int
    keys: Mapping[str, str]
    """Key id -> the public key's 32 bytes in base64."""
    roles: Mapping[str, Grant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse roles that are none, ids that are not their keys', and one key in roles that watch each other."""
        if sorted(self.roles) != sorted(ROLES):
            raise ConfigError(f"a trust file has the roles {', '.join(ROLES)}, and this one {', '.join(self.roles)}")
        for key_id, public in self.keys.items():
            if PublicKey(base64.b64decode(public, validate=True)).key_id != key_id:
                raise ConfigError(f"key {key_id[:12]} has another id than the trust file says; give the key itself")
        if unknown := {key for grant in self.roles.values() for key in grant.keys} - set(self.keys):
            raise ConfigError(f"a role has key {min(unknown)[:12]}, which the trust file does not hold; add its key")
        if not self.is_embedded and (twice := self._in_two_roles()):
            raise ConfigError(
                f"key {twice[:12]} is in two of the roles {', '.join(_APART)}, which must be different keys; give "
                "each role its own"
            )

    @property
    def is_embedded(self) -> bool:
        """Whether one key has all roles, so that nobody watches anybody."""
        return len(self.keys) == 1

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical form."""
        return records.digest(self)

    def keys_of(self, role: str, *, at: str) -> list[PublicKey]:
        """The keys that count for a role at a time; for `any`, those of every role.

        Args:
            at: UTC, ISO 8601.
        """
        grants = self.roles.values() if role == "any" else [self.roles[role]]
        ids = {key for grant in grants if grant.holds_at(at) for key in grant.keys}
        return [self.public(key) for key in sorted(ids)]

    def threshold_of(self, role: str) -> int:
        """How many different keys of it must sign."""
        return 1 if role == "any" else self.roles[role].threshold

    def public(self, key_id: str) -> PublicKey:
        """The key with that id."""
        return PublicKey(base64.b64decode(self.keys[key_id]))

    def without(self, key_id: str) -> "Trust":
        """The next version, in which the key has no role.

        Raises:
            ConfigError: A role would have fewer keys than it needs.
        """
        if key_id not in self.keys:
            raise ConfigError(f"key {key_id[:12]} has no role here; there are {', '.join(self.keys)}")
        left = {
            name: (grant.keys, tuple(key for key in grant.keys if key != key_id)) for name, grant in self.roles.items()
        }
        short = [name for name, (_, keys) in left.items() if len(keys) < self.roles[name].threshold]
        if short:
            raise ConfigError(
                f"without key {key_id[:12]} the roles {', '.join(short)} have too few keys; rotate it for another one "
                "with `saint keys rotate`"
            )
        roles = {name: replace(self.roles[name], keys=keys) for name, (_, keys) in left.items()}
        return self._next(roles, {key: public for key, public in self.keys.items() if key != key_id})

    def with_instead(self, key_id: str, new: PublicKey) -> "Trust":
        """The next version, in which the key `new` has the roles of another one."""
        if key_id not in self.keys:
            raise ConfigError(f"key {key_id[:12]} has no role here; there are {', '.join(self.keys)}")
        roles = {
            name: replace(grant, keys=tuple(new.key_id if key == key_id else key for key in grant.keys))
            for name, grant in self.roles.items()
        }
        keys = {key: public for key, public in self.keys.items() if key != key_id}
        return self._next(roles, {**keys, new.key_id: spell(new)})

    def _next(self, roles: Mapping[str, Grant], keys: Mapping[str, str]) -> "Trust":
        return Trust(origin=self.origin, version=self.version + 1, keys=keys, roles=roles)

    def _in_two_roles(self) -> str:
        named = [key for role in _APART for key in self.roles[role].keys]
        return next((key for key in named if named.count(key) > 1), "")


def embedded_trust(origin: str, key: Key) -> Trust:
    """The first version where one key has all roles: no ceremony, and nobody who watches."""
    grant = Grant(keys=(key.key_id,))
    return Trust(origin=origin, version=1, keys={key.key_id: spell(key.public_key)}, roles=dict.fromkeys(ROLES, grant))


def sign_trust(trust: Trust, *keys: Key) -> Envelope:
    """The trust file with the signatures of `keys`."""
    return sign(TRUST, records.to_canonical(trust).encode(), *keys)


def read_trust(envelope: Envelope) -> Trust:
    """What a signed trust file says; whether its signatures count is for `follow` to say.

    Raises:
        SignatureError: It is none.
    """
    if envelope.payload_type != TRUST:
        raise SignatureError(f"a trust file was expected, and this is {envelope.payload_type}; give another file")
    return trust_from(envelope.payload)


def trust_from(content: bytes) -> Trust:
    """The trust that was spelled in canonical JSON.

    Raises:
        SignatureError: It is none.
    """
    try:
        trust = config.build(json.loads(content), Trust, where="the trust file")
        is_canonical = records.to_canonical(trust).encode() == content
    except (SaintError, ValueError, TypeError, RecursionError) as error:
        raise SignatureError(f"this is no trust file ({error}); restore it from a copy") from error
    if not is_canonical:
        raise SignatureError("this trust file is not in canonical form; restore it from a copy")
    return trust


def follow(before: Trust | None, envelope: Envelope, *, origin: str) -> Trust:
    """The trust that an envelope puts in the place of the one before it.

    Enough root keys of the one before and of the new one must have signed. As in TUF a root that has expired may still
    renew itself, or nobody could; that nothing newer than it is there is then for people to find out.

    Raises:
        SignatureError: It is for another registry, skips a version, or too few root keys signed.
    """
    trust = read_trust(envelope)
    if trust.origin != origin:
        raise SignatureError(f"the trust file is for registry {trust.origin}, this one is {origin}; give its own")
    expected = before.version + 1 if before else 1
    if trust.version != expected:
        raise SignatureError(f"version {expected} of the trust file has to follow, and this is {trust.version}")
    for whose, one in (("the version before it", before), ("its own", trust)):
        if one is None:
            continue
        root = one.roles["root"]
        if len(envelope.signers(map(one.public, root.keys))) < root.threshold:
            raise SignatureError(
                f"version {trust.version} of the trust file lacks signatures of root keys: {root.threshold} different "
                f"ones of {whose} must sign"
            )
    return trust


def spell(key: PublicKey) -> str:
    """A public key as a trust file has it."""
    return base64.b64encode(key.public).decode()


def moment(text: str) -> datetime:
    """A time that has its zone.

    Raises:
        ConfigError: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigError(f"{text!r} is no time with a zone; give one such as 2030-12-31T00:00:00+00:00")
    return found
