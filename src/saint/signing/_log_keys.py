from collections.abc import Callable, Iterable

from saint.registry import FOR_EVER, Event
from saint.signing._course import Course
from saint.signing._pinned import must_not_go_back, remembered


def log_keys(origin: str, events: Iterable[Event], payload: Callable[[str], bytes]) -> dict[bytes, int]:
    """Who may sign a log's checkpoints, as the trust files in it say: public key -> for how many first entries.

    A key that was revoked may speak for the entries before the one that did that, as for these it once might.

    Each of these must follow from the one before it; where this machine remembers one, that must be among them.

    Args:
        origin: The log's name.
        events: All of its entries.
        payload: Digest of a blob -> its content.

    Raises:
        SignatureError: One does not follow, or the one that is remembered is not there.
        SaintError: The content of one cannot be had.
    """
    course = Course(origin, payload)
    keys: dict[bytes, int] = {}
    for event in events:
        if "trust" in event.body:
            trust = course.take(event)
            keys = {key: min(size, event.number) for key, size in keys.items()}
            keys |= {trust.public(key).public: FOR_EVER for key in trust.roles["log"].keys}
    must_not_go_back(course.trust, remembered(origin) if origin else None, past=course.trusts)
    return keys
