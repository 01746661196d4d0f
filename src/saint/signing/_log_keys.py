from collections.abc import Callable, Iterable

from saint.errors import SignatureError
from saint.registry import Event
from saint.signing._course import Course
from saint.signing._pinned import remembered


def log_keys(origin: str, events: Iterable[Event], payload: Callable[[str], bytes]) -> list[bytes]:
    """The public keys that may sign a log's checkpoints, or once might, as the trust files in it say.

    Each of these must follow from the one before it; where this machine remembers one, that must be among them.

    Args:
        origin: The log's name.
        events: All of its entries.
        payload: Digest of a blob -> its content.

    Raises:
        SignatureError: One does not follow, or the one that is remembered is not there.
        SaintError: The content of one cannot be had.
    """
    course, known = Course(origin, payload), remembered(origin) if origin else None
    keys: dict[bytes, None] = {}
    is_there = known is None
    for event in events:
        if "trust" in event.body:
            trust = course.trust = course.changed(event)
            is_there = is_there or (known is not None and trust.digest == known.digest)
            keys.update((trust.public(key).public, None) for key in trust.roles["log"].keys)
    if known is not None and not is_there:
        raise SignatureError(
            f"the trust file that this machine remembers, version {known.version}, is not in the log: it was cut or "
            "written anew; compare it with other copies"
        )
    return list(keys)
