from datetime import UTC, datetime

from saint.signing._key import keys_folder, load_public
from saint.signing._pinned import remembered


def known_as(key_id: str, *, origin: str) -> str:
    """What this machine knows a key as that speaks for a registry's evaluators; "" for a key that it does not know.

    Args:
        origin: The registry that the key is said to speak for.

    Raises:
        KeyFileError: A key of this machine cannot be read.
        SignatureError: No registry has such a name, or what is remembered of it was changed.
    """
    trust, now = remembered(origin), datetime.now(UTC).isoformat(timespec="seconds")
    if trust is not None and key_id in {key.key_id for key in trust.keys_of("evaluator", at=now)}:
        return f"an evaluator of registry {origin}, as this machine trusts it"
    for path in sorted(keys_folder().glob("*.pub")):
        if load_public(path).key_id == key_id:
            return f"the key {path.stem} of this machine"
    return ""
