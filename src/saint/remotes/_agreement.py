from collections.abc import Mapping, Sequence

from saint.errors import RemoteContentError
from saint.registry import Event
from saint.remotes._names import number_of


def must_agree(events: Sequence[Event], notes: Mapping[str, bytes], *, source: str) -> None:
    """Hold a remote's log against the checkpoints that came with it.

    This is the one place where signatures of checkpoints and the checkpoint remembered outside the registry are to be
    asked. What is checked without them: a checkpoint of more entries than there are says that some were cut off.

    Args:
        notes: Name -> content.
        source: Where they came from, for messages.

    Raises:
        RemoteContentError: They contradict each other.
    """
    longest = max(((number_of(name) or 0), name) for name in notes) if notes else (0, "")
    if longest[0] > len(events):
        raise RemoteContentError(
            f"{longest[1]} at {source} was written when there were {longest[0]} entries, and there are {len(events)}: "
            "the last ones were cut off, so use another copy"
        )
