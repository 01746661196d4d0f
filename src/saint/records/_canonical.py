"""One spelling for every record (RFC 8785, JSON Canonicalization Scheme), so that equal records have equal digests."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

LARGEST_EXACT_INT = 2**53 - 1
"""No larger integer survives every reader of JSON."""
_CHUNK_BYTES = 1 << 24
LATER: Mapping[str, bool] = MappingProxyType({"later": True})
"""Metadata of a field that came when records of its class were on disk: at its default it is not spelled, so that what
they were known by holds."""


def to_plain(record: Any) -> Any:
    """Dataclasses, tuples and enums as the dicts, lists and strings that JSON has."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        values = ((field, getattr(record, field.name)) for field in dataclasses.fields(record))
        return {
            field.name: to_plain(value)
            for field, value in values
            if not (field.metadata.get("later") and value == field.default)
        }
    if isinstance(record, Mapping):
        return {str(key): to_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_plain(value) for value in record]
    return str(record) if isinstance(record, StrEnum) else record


def to_canonical(record: Any) -> str:
    """The RFC 8785 spelling: keys sorted by UTF-16 code units, no spaces, ECMAScript numbers.

    Raises:
        ValueError: A float is NaN or infinite (unmeasured is None, never NaN), or an integer exceeds 2^53 - 1 and is
            not how a float is spelled.
    """
    return _spell(to_plain(record))


def digest(record: Any) -> str:
    """The SHA-256 of the canonical spelling, in hexadecimal."""
    return hashlib.sha256(to_canonical(record).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str | None:
    """What a Hugging Face tokenizer does, as a digest; None for no tokenizer.

    Padding and truncation are left out: they are settings of a call, and calls change them.
    """
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    else:
        rules = {key: value for key, value in json.loads(backend.to_str()).items() if key not in _CALL_SETTINGS}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return digest({"rules": json.dumps(rules, sort_keys=True), "special": special})


_CALL_SETTINGS = ("padding", "truncation")


def _spell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return _spell_int(value)
    if isinstance(value, float):
        return _spell_float(value)
    if isinstance(value, list):
        return f"[{','.join(map(_spell, value))}]"
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_spell(key)}:{_spell(item)}" for key, item in ordered) + "}"
    raise TypeError(f"{type(value).__name__} has no place in a record; use numbers, text, lists and mappings")


def _spell_int(value: int) -> str:
    """A large whole float has no point in its spelling, so it is read back as an integer: that one is spelled again."""
    text = str(value)
    if abs(value) <= LARGEST_EXACT_INT or (abs(value) < 10**21 and text == _spell_float(float(value))):
        return text
    raise ValueError(f"{text} is beyond 2^53 - 1, which JSON readers do not keep exactly; store it as text")


def _spell_float(value: float) -> str:
    """ECMAScript's Number::toString, which RFC 8785 prescribes: same shortest digits as Python, other layout."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be stored: an unmeasured value is None, never NaN or infinity")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # finite
    text, point = "".join(map(str, digits)), len(digits) + exponent  # value = 0.text * 10**point
    if len(text) <= point <= 21:
        body = text.ljust(point, "0")
    elif 0 < point <= 21:
        body = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = f"0.{'0' * -point}{text}"
    else:
        body = f"{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1:+d}"
    return f"{'-' * sign}{body}"
