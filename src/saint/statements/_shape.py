"""What a plain record must look like: each shape names everything that is wrong with one, and where."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Shape = Callable[[Any, str], Iterator[str]]
"""Takes a value and the place where it is; gives one phrase for each thing that is wrong."""


def text(pattern: str = r"(?s).+", *, called: str = "text that is not empty") -> Shape:
    """A string that matches `pattern` as a whole."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            yield f"{where}: expected {called}, got {value!r}"

    return problems


def one_of(*allowed: str) -> Shape:
    """Exactly one of some strings."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, str) or value not in allowed:
            yield f"{where}: expected one of {', '.join(map(repr, allowed))}, got {value!r}"

    return problems


def truth(value: Any, where: str) -> Iterator[str]:
    """True or false."""
    if not isinstance(value, bool):
        yield f"{where}: expected true or false, got {value!r}"


def whole(at_least: int = 0) -> Shape:
    """A whole number."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            yield f"{where}: expected a whole number of at least {at_least}, got {value!r}"

    return problems


def optional(shape: Shape) -> Shape:
    """Either that or null."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if value is not None:
            yield from shape(value, where)

    return problems


def anything(_value: Any, _where: str) -> Iterator[str]:
    """Whatever JSON has; what is no JSON at all fails when it is spelled."""
    yield from ()


def list_of(shape: Shape, *, at_least: int = 0) -> Shape:
    """A list, each of whose parts has the shape."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < at_least:
            yield f"{where}: expected a list of at least {at_least}, got {value!r}"
            return
        for index, part in enumerate(value):
            yield from shape(part, f"{where}[{index}]")

    return problems


def mapping_of(shape: Shape, *, at_least: int = 0) -> Shape:
    """A mapping from any text to values of the shape."""

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping) or len(value) < at_least or not all(isinstance(key, str) for key in value):
            yield f"{where}: expected a mapping of at least {at_least} from text, got {value!r}"
            return
        for key, part in value.items():
            yield from shape(part, f"{where}.{key}")

    return problems


def fields(required: Mapping[str, Shape], may_have: Mapping[str, Shape] | None = None) -> Shape:
    """A mapping with all of `required`, any of `may_have`, and nothing else."""
    known = {**required, **(may_have or {})}

    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{where}: expected a mapping, got {value!r}"
            return
        yield from (f"{where}: {name!r} is missing" for name in required if name not in value)
        for name, part in value.items():
            if name in known:
                yield from known[name](part, f"{where}.{name}")
            else:
                yield f"{where}: {name!r} is unknown"

    return problems
