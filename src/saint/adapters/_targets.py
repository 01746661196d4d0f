"""Which modules a PEFT configuration speaks of: the rules that PEFT itself goes by."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from saint.errors import AdapterError
from saint.records import Site

_ALL_LINEAR = "all-linear"
_NO_PATTERN = (re.error, OverflowError, RecursionError)
"""What Python raises for text that is no regular expression, repeats too often, or is nested too deep."""


def targets(config: Mapping[str, Any], sites: Iterable[Site]) -> list[Site]:
    """The sites that the configuration's `target_modules` and its restrictions name.

    Raises:
        AdapterError: A pattern is no regular expression, or there is none.
    """
    wanted = config.get("target_modules")
    if not wanted:
        raise AdapterError(f"target_modules is {wanted!r}; expected the names of modules, or a regular expression")
    try:
        return [site for site in sites if _is_target(config, site) and not _is_excluded(config, site.module)]
    except _NO_PATTERN as error:
        names = "target_modules, exclude_modules or layers_pattern"
        raise AdapterError(f"{names} is no regular expression ({error}); save the adapter again") from error


def pattern_value(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """What a `rank_pattern` or `alpha_pattern` says of a module: its first key that the end of the name matches.

    Raises:
        AdapterError: A key is no regular expression.
    """
    try:
        return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)
    except _NO_PATTERN as error:
        raise AdapterError(f"a key of rank_pattern or alpha_pattern is no regular expression ({error})") from error


def _is_target(config: Mapping[str, Any], site: Site) -> bool:
    wanted, module = config["target_modules"], site.module
    if wanted == _ALL_LINEAR:
        return site.role != "head"
    if isinstance(wanted, str):
        return re.fullmatch(wanted, module) is not None
    return module in wanted or (_ends_with(module, wanted) and _is_in_layers(config, module))


def _is_excluded(config: Mapping[str, Any], module: str) -> bool:
    excluded = config.get("exclude_modules") or ()
    if isinstance(excluded, str):
        return re.fullmatch(excluded, module) is not None
    return module in excluded or _ends_with(module, excluded)


def _is_in_layers(config: Mapping[str, Any], module: str) -> bool:
    """Whether `layers_to_transform` lets a module in: by the first number in its name, after `layers_pattern`."""
    layers = config.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    lists = config.get("layers_pattern") or []
    named = [rf"(?:^|.*?\.){name}" for name in ([lists] if isinstance(lists, str) else lists)]
    found = (re.match(rf"{start}\.(?P<depth>\d+)\.", module) for start in named or [r".*?\.[^.]*"])
    depth = next((int(match["depth"]) for match in found if match), None)
    return depth in ([layers] if isinstance(layers, int) else layers)


def _ends_with(module: str, names: Iterable[str]) -> bool:
    return any(module.endswith(f".{name}") for name in names)
