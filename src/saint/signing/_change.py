"""Changing whose signatures count: by an entry that enough root keys signed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from saint.errors import KeyFileError, SignatureError
from saint.registry import Event, Registry
from saint.signing._course import Course
from saint.signing._envelope import Envelope
from saint.signing._key import Key, Keyring, keys_folder
from saint.signing._pinned import must_not_go_back, remember, remembered
from saint.signing._trust import Trust, follow, read_trust, sign_trust


def trust_of(registry: Registry) -> Trust | None:
    """Whose signatures count for what in a registry, as its ledger has it; None while nothing was signed.

    Raises:
        SignatureError: A change of it does not hold, or this machine remembers another one.
    """
    course = Course(registry.origin, registry.payload)
    course.read(registry.ledger)
    if course.origin:
        must_not_go_back(course.trust, remembered(course.origin), past=course.trusts)
    return course.trust


def log_key(registry: Registry) -> Key | None:
    """The key of this machine that signs a registry's checkpoints; None where none may, or nothing was signed yet.

    Raises:
        KeyFileError: The key cannot be opened.
        SignatureError: The registry's trust file does not hold.
    """
    trust = trust_of(registry)
    mine = Keyring().of(trust.roles["log"].keys) if trust else []
    return mine[0] if mine else None


def evaluator_keys(registry: Registry) -> list[Key]:
    """The keys of this machine that may say how good a registry's grafts are: as many as its trust file asks for.

    Raises:
        KeyFileError: There are too few, or nothing in the registry was signed yet.
        SignatureError: The registry's trust file does not hold.
    """
    trust = trust_of(registry)
    if trust is None:
        raise KeyFileError(f"nothing in {registry.folder} was signed yet, so no key speaks for it; judge a graft there")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    mine = Keyring().of({key.key_id for key in trust.keys_of("evaluator", at=now)})
    if len(mine) < (needed := trust.threshold_of("evaluator")):
        raise KeyFileError(
            f"this takes {needed} keys of role evaluator that have not expired, and {keys_folder()} has {len(mine)}; "
            "bring the key's file, or do it where the key is"
        )
    return mine


def sign_change(trust: Trust, before: Trust | None = None, *, earlier: Envelope | None = None) -> Envelope:
    """A trust file with the signatures of the root keys of this machine, and those that it had already.

    Args:
        before: The one that it is to replace, whose root keys sign as well.
        earlier: The same with the signatures of others.

    Raises:
        KeyFileError: There is no key here.
        SignatureError: What was signed already is another trust file.
    """
    roots = {key for one in (before, trust) if one for key in one.roles["root"].keys}
    keys = Keyring().of(roots)
    if not keys:
        raise KeyFileError(f"no root key of this registry is in {keys_folder()}; bring one, or sign where it is")
    if earlier is None:
        return sign_trust(trust, *keys)
    if read_trust(earlier).digest != trust.digest:
        raise SignatureError("what others signed is another trust file; sign the same one")
    return earlier.with_signatures_of(*keys)


def change_trust(registry: Registry, envelope: Envelope, *, reason: str) -> Trust:
    """Write a signed trust file into the ledger, and remember it here.

    From this entry on the keys that it leaves out do not count; what they signed before stands.

    Raises:
        SignatureError: It may not follow the one that is there; nothing was written.
    """
    blob = registry.store.put(envelope.to_bytes())
    found: list[Trust] = []

    def body(past: Sequence[Event]) -> dict[str, object]:
        course = Course(registry.origin, registry.payload)
        course.read(past)
        found.append(follow(course.trust, envelope, origin=registry.origin))
        must_not_go_back(found[-1], remembered(registry.origin), past={*course.trusts, found[-1].digest})
        return {"version": found[-1].version, "trust": blob, "reason": reason}

    registry.ledger.append("trust_set", body, blobs=[blob])
    remember(found[-1])
    return found[-1]


def pin(registry: Registry, roots: list[str]) -> Trust:
    """Trust a registry's keys on this machine, because its root keys are the ones that its owner has told of.

    Args:
        roots: Ids of keys, or the first 16 letters or more of them.

    Raises:
        SignatureError: The registry has no trust file, or other root keys.
    """
    trust = trust_of(registry)
    if trust is None:
        raise SignatureError(f"{registry.folder} has no trust file, as nothing in it was signed; ask for a newer copy")
    known = trust.roles["root"].keys
    wrong = [given for given in roots if len(given) < 16 or not any(key.startswith(given) for key in known)]
    named = {key for key in known if any(key.startswith(given) for given in roots)}
    if wrong or len(named) < trust.roles["root"].threshold:
        raise SignatureError(
            f"the root keys of {registry.folder} are {', '.join(sorted(known))}; compare them with what its owner "
            f"tells you, and give {trust.roles['root'].threshold} of them by --root"
        )
    remember(trust)
    return trust
