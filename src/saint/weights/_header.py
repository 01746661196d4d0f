import json
from collections.abc import Sequence
from typing import Any, NoReturn

from saint.errors import GraftFileError
from saint.weights._caps import Caps
from saint.weights._foreign import what_else

LENGTH_BYTES = 8
"""The header's length stands before it, as a little-endian number."""
_ALIGNMENT = 8
_MOST_DIGITS = 19
AGAIN = "write the file again with safetensors"


def read_header(content: memoryview, caps: Caps) -> tuple[dict[str, Any], memoryview]:
    """What the header says of each tensor, not yet checked, and the bytes behind it.

    JSON has many spellings and safetensors' reader takes most of them; here it is one object that fills the header from
    its first byte, with spaces behind it at most, no key twice, and numbers that are digits.

    Raises:
        GraftFileError: It is not such a header.
    """
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    start = bytes(content[LENGTH_BYTES : LENGTH_BYTES + 1])
    if len(content) < LENGTH_BYTES or length > caps.header_bytes or (start and start != b"{"):
        raise GraftFileError(_not_safetensors(content, length, caps))
    end = LENGTH_BYTES + length
    if length < len("{}") or end > len(content):
        raise GraftFileError(
            f"the file is not safetensors, or was cut off: a header of {length:,} bytes was announced, and "
            f"{len(content) - LENGTH_BYTES:,} follow; fetch the file again"
        )
    if length % _ALIGNMENT:
        raise GraftFileError(
            f"the header takes {length:,} bytes, expected a multiple of {_ALIGNMENT}, so that numbers lie where "
            f"processors read them; {AGAIN}"
        )
    entries = _parse(bytes(content[LENGTH_BYTES:end]))
    _check_metadata(entries.pop("__metadata__", {}), caps)
    if not 1 <= len(entries) <= caps.num_tensors:
        raise GraftFileError(
            f"the file holds {f'{len(entries):,}' if entries else 'no'} tensor{'s' * (len(entries) > 1)}, expected 1 "
            f"to {caps.num_tensors:,}; save it again"
        )
    if length > (most := caps.header_bytes_per_tensor * len(entries)):
        raise GraftFileError(
            f"the header takes {length:,} bytes, expected at most {most:,} for {len(entries):,} tensors; {AGAIN}"
        )
    return entries, content[end:]


def _not_safetensors(content: memoryview, length: int, caps: Caps) -> str:
    what, way_out = what_else(content)
    if bytes(content[LENGTH_BYTES : LENGTH_BYTES + 1]) == b"{":
        return (
            f"the header takes {length:,} bytes, expected at most {caps.header_bytes:,}; {AGAIN}, without metadata and "
            "in few tensors"
        )
    return f"the file is not safetensors, which alone is read, but {what}; {way_out}"


def _parse(header: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(
            _without_padding(header.decode()),
            object_pairs_hook=_once,
            parse_int=_digits,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0][:200]
        raise GraftFileError(f"the header is not the JSON of safetensors ({why}); {AGAIN}") from error
    return found


def _without_padding(text: str) -> str:
    text = text.rstrip(" ")
    if not text.endswith("}"):
        raise ValueError("something stands behind its last brace")
    return text


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:60]!r} stands in it twice")
        found[name] = value
    return found


def _digits(digits: str) -> int:
    if digits.startswith("-") or len(digits) > _MOST_DIGITS:
        return _refuse(digits)
    return int(digits)


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"expected whole numbers from 0 to 10^{_MOST_DIGITS}, got {number[:40]}")


def _check_metadata(metadata: Any, caps: Caps) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(said, str) for said in metadata.values()):
        raise GraftFileError(f"the header's __metadata__ is not text by name; {AGAIN}")
    try:
        size = sum(len(part.encode()) for pair in metadata.items() for part in pair)
    except UnicodeEncodeError as error:
        raise GraftFileError(f"the header's __metadata__ holds half a character; {AGAIN}") from error
    if size > caps.metadata_bytes:
        raise GraftFileError(
            f"the header's __metadata__ takes {size:,} bytes, expected at most {caps.metadata_bytes:,}; {AGAIN}, "
            "without metadata"
        )
