"""What coordinator and workers say to each other: JSON with pieces of bytes behind it, and nothing that runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from saint import errors
from saint.errors import RefusedResultError, SaintError, WorkerError

_LENGTH_BYTES = 8
_HEADER_BYTES = 1 << 26  # longer ones are nobody's
_MESSAGE_LETTERS = 2000


def pack(header: Mapping[str, Any], pieces: Sequence[bytes] = ()) -> bytes:
    """A message: eight bytes with the length of the JSON, the lowest first, the JSON, and the pieces."""
    spelt = json.dumps({"header": header, "pieces": list(map(len, pieces))}, allow_nan=False).encode()
    return b"".join([len(spelt).to_bytes(_LENGTH_BYTES, "little"), spelt, *pieces])


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the pieces of a message; nothing of it is believed beyond that.

    Raises:
        RefusedResultError: It is no message.
    """
    length = int.from_bytes(message[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if length > _HEADER_BYTES or end > len(message):
        raise RefusedResultError("expected a message that begins with the length of its header, got something else")
    try:
        spelt = json.loads(message[_LENGTH_BYTES:end], parse_constant=_no_number)
        header, lengths = spelt["header"], spelt["pieces"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedResultError(f"expected a message with a header in JSON, got one that is not ({error})") from error
    known = isinstance(header, dict) and isinstance(lengths, list)
    if not known or not all(type(one) is int and one >= 0 for one in lengths) or end + sum(lengths) != len(message):
        raise RefusedResultError("expected a message that is as long as its header says, got another length")
    pieces = []
    for size in lengths:
        pieces.append(message[end : end + size])
        end += size
    return header, pieces


def described_error(error: SaintError) -> dict[str, str]:
    """An error as plain data."""
    return {"sort": type(error).__name__, "message": str(error)}


def told_error(described: Any) -> SaintError:
    """The error that somebody described; of a sort that is known, or a `WorkerError`."""
    if not isinstance(described, dict):
        return WorkerError("a worker failed and did not say how")
    sort = getattr(errors, str(described.get("sort")), None)
    known = sort if isinstance(sort, type) and issubclass(sort, SaintError) else WorkerError
    return known(str(described.get("message"))[:_MESSAGE_LETTERS])


def _no_number(spelt: str) -> Any:
    raise ValueError(f"{spelt} is no number")
