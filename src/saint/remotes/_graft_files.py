"""Files of weights that somebody else wrote: what one must be before an entry that speaks of it is taken."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from saint.errors import GraftFileError, RemoteContentError
from saint.registry import Event


def grafts_of(events: Iterable[Event]) -> Iterator[str]:
    """What entries call a graft: their own, and that of the evidence that it was judged by."""
    for event in events:
        evidence = event.body.get("evidence")
        said = [event.body.get("graft"), evidence.get("graft") if isinstance(evidence, Mapping) else None]
        yield from (one for one in said if isinstance(one, str))


def must_be_weights(place: Path, digest: str) -> None:
    """Refuse a file that is no graft's, whatever its digest, as reading a graft does, and without PyTorch.

    How large its numbers are is not asked: registries keep grafts that were rejected for that, and have to come back.

    Raises:
        RemoteContentError: It is something else.
    """
    from saint.weights import AS_STORED, Caps, check_weights, read_weights  # they load NumPy, which few pulls need

    caps = replace(AS_STORED, num_bytes=Caps().num_bytes)
    try:
        check_weights(read_weights(place, caps=caps), caps=caps)
    except GraftFileError as error:
        raise RemoteContentError(
            f"graft {digest[:12]} is no file of weights that may be opened: {error}; no entry of it was taken"
        ) from error
