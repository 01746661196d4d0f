import dataclasses
import difflib
import math
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from saint import records
from saint.errors import ConfigError

T = TypeVar("T")


def load(path: Path, into: type[T], *, overrides: Iterable[str] = ()) -> T:
    """Read the TOML file `path` into the dataclass `into`; `overrides` are `dotted.key=value` in TOML's spelling.

    Raises:
        ConfigError: The file is missing or not TOML, a key is unknown or missing, or a value has the wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a plan ({error}); give the path of a TOML file") from error
    return build(parse(text, where=str(path), overrides=overrides), into, where=str(path))


def parse(text: str, *, where: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The table that TOML `text` holds, with `overrides` put in.

    Raises:
        ConfigError: It is not TOML; the message has the line.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from error
    for override in overrides:
        _put(values, override)
    return values


def build(values: Mapping[str, Any], into: type[T], *, where: str) -> T:
    """`into(**values)`, nested dataclasses included, refusing keys and types that `into` does not have.

    Raises:
        ConfigError: Names the place, what was expected and what came.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a table for {into.__name__}, got {_shown(values)}")
    fields = {field.name: field for field in dataclasses.fields(into) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise unknown_key(key, fields, where=where, what=into.__name__)
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: {into.__name__} needs the key {name!r}")
    hints = _hints(into)  # type: ignore[arg-type]
    converted = {key: _convert(value, hints[key], where=f"{where}: {key}") for key, value in values.items()}
    try:
        return into(**converted)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from error


@cache
def _hints(of: type) -> dict[str, Any]:
    """The types of its fields; a ledger is thousands of records of a dozen classes."""
    return typing.get_type_hints(of)


def unknown_key(key: str, known: Iterable[str], *, where: str, what: str) -> ConfigError:
    """The error for a key that is not among `known`, with the nearest one named."""
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known) or 'none'}"
    return ConfigError(f"{where}: {what} has no key {key!r}; {hint}")


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, where=where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: expected {_one_of(arguments)}, got {_shown(value)}")
        return value
    if origin is not None:
        return _convert_members(value, origin, arguments, where=where)
    if dataclasses.is_dataclass(hint):
        return build(value, typing.cast("type[Any]", hint), where=where)
    return _convert_plain(value, hint, where=where)


def _convert_members(value: Any, origin: Any, arguments: tuple[Any, ...], *, where: str) -> Any:
    """A list or a table, member by member."""
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {_shown(value)}")
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(hints) != len(value):
            raise ConfigError(f"{where}: expected {len(hints)} values, got {len(value)}")
        pairs = zip(value, hints, strict=True)
        return tuple(_convert(item, hint, where=f"{where}[{i}]") for i, (item, hint) in enumerate(pairs))
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, got {_shown(value)}")
    return {key: _convert(item, arguments[1], where=f"{where}.{key}") for key, item in value.items()}


def _convert_union(value: Any, choices: tuple[Any, ...], *, where: str) -> Any:
    """The first choice that takes the value; a lone dataclass among them keeps its own, more exact message."""
    tables = [choice for choice in choices if dataclasses.is_dataclass(choice)]
    if isinstance(value, Mapping) and len(tables) == 1:
        return _convert(value, tables[0], where=where)
    for choice in choices:
        try:
            return _convert(value, choice, where=where)
        except ConfigError:
            continue
    raise ConfigError(f"{where}: expected {_one_of(choices)}, got {_shown(value)}")


def _convert_plain(value: Any, hint: Any, *, where: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, StrEnum) and value in list(hint):
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise ConfigError(f"{where}: expected a finite number, got {_shown(value)}")
        return float(value)
    fits = value is None if hint in (None, types.NoneType) else isinstance(value, hint)
    if not fits or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {_named(hint)}, got {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, got {_shown(value)}")
    if isinstance(value, int) and abs(value) > records.LARGEST_EXACT_INT:
        raise ConfigError(f"{where}: expected a whole number up to 2^53 - 1, got {_shown(value)}")
    return value


def _put(values: dict[str, Any], override: str) -> None:
    dotted, separator, spelled = override.partition("=")
    if not separator:
        raise ConfigError(f"--set {override!r}: expected key=value, such as --set schedule.num_steps=200")
    try:
        value = tomllib.loads(f"value = {spelled}")["value"]
    except tomllib.TOMLDecodeError:
        value = spelled  # a bare word is a string, so that a shell needs no second pair of quotes
    *parents, key = dotted.strip().split(".")
    table = values
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a table")
    table[key] = value


def _named(hint: Any) -> str:
    known = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    return str(known.get(hint) or getattr(hint, "__name__", hint))


def _one_of(choices: Iterable[Any]) -> str:
    shown = [_named(choice) if isinstance(choice, type) else repr(choice) for choice in choices if choice is not None]
    return " or ".join(dict.fromkeys(shown))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
