"""The trust file that this machine remembers of a registry: what is in the registry cannot take it back."""

import re
from collections.abc import Container
from pathlib import Path

from saint import records
from saint.errors import RememberedError, SignatureError
from saint.home import home, replace_file
from saint.signing._trust import Trust, trust_from

_ORIGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def trust_path(origin: str) -> Path:
    """Where the trust of a registry is remembered.

    Raises:
        SignatureError: The registry's name could be the way to another file.
    """
    if not _ORIGIN.fullmatch(origin):
        raise SignatureError(
            f"a registry is called {origin!r}, which no registry is; restore registry.json from a copy"
        )
    return home() / "trust" / f"{origin}.json"


def remembered(origin: str) -> Trust | None:
    """The last trust file of a registry that held here; None where nobody said yet whom to trust.

    Raises:
        RememberedError: What is remembered was changed, or cannot be read.
    """
    path = trust_path(origin)
    try:
        trust = trust_from(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, SignatureError) as error:
        raise RememberedError(
            f"{path}, which says whose keys this machine trusts, cannot be read ({error}); restore it from a copy, or "
            "delete it and trust the registry's keys anew by `saint keys trust`"
        ) from error
    if trust.origin != origin:
        raise RememberedError(f"{path} is about registry {trust.origin}; restore it from a copy")
    return trust


def remember(trust: Trust) -> None:
    """Remember a trust file, after all checks: an older one never takes the place of a newer one.

    Raises:
        SignatureError: A newer one, or another of the same version, is remembered.
        StorageError: The disk refused.
    """
    must_not_go_back(trust, remembered(trust.origin))
    replace_file(trust_path(trust.origin), records.to_canonical(trust).encode())


def forget(trust: Trust) -> None:
    """Take back a trust file that never came to be in force."""
    known = remembered(trust.origin)
    if known is not None and known.digest == trust.digest:
        trust_path(trust.origin).unlink(missing_ok=True)


def must_not_go_back(trust: Trust | None, known: Trust | None, *, past: Container[str] | None = None) -> None:
    """Refuse a registry whose trust file does not follow from the one that is remembered of it.

    Args:
        past: Digests of all trust files of its log, where they were read; a log that was written anew, by whoever, may
            have a higher version, and never the one that is remembered.

    Raises:
        SignatureError: It is.
    """
    if known is None:
        return
    version = trust.version if trust else 0
    if version < known.version:
        raise SignatureError(
            f"the registry's trust file has version {version}, and {known.version} was seen before: the log was cut or "
            "written anew; get the newer copy"
        )
    if trust and version == known.version and trust.digest != known.digest:
        raise SignatureError(
            f"version {version} of the registry's trust file is another one than was seen before: the log was written "
            "anew, or has split; compare it with other copies"
        )
    if past is not None and known.digest not in past:
        raise SignatureError(
            f"the trust file that this machine remembers, version {known.version}, is not in the log: it was "
            "written anew; compare it with other copies"
        )
