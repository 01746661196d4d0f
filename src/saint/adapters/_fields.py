"""What an adapter's configuration may say: every field that is read later, checked once, where the file is read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from saint.errors import AdapterError

LARGEST = torch.finfo(torch.float32).max
"""Beyond it a factor turns weights into what is no number."""


def check_fields(config: Mapping[str, Any], file: Path) -> None:
    """Refuse a value of a type that PEFT does not write.

    Args:
        file: Where it was read, for the message.

    Raises:
        AdapterError: A field is missing, or something else than what it has to be.
    """
    fields = {**_ANY_METHOD, **(_LORA if config["peft_type"] == "LORA" else {})}
    for name, (expected, fits) in fields.items():
        if not fits(config.get(name)):
            came = f"has {name} {_shown(config[name])}" if name in config else f"lacks {name}"
            raise AdapterError(f"{file} {came}, where {expected} is expected; save the adapter again")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rank(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_switch(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _one_or_several(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """One value that fits, a list of such values, or nothing."""
    return lambda value: value is None or fits(value) or (isinstance(value, list) and all(map(fits, value)))


def _table_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A table of values that fit, or nothing; the keys of JSON are text."""
    return lambda value: value is None or (isinstance(value, dict) and all(map(fits, value.values())))


_Field = tuple[str, Callable[[Any], bool]]
_NAMES: _Field = ("a list of names, or a regular expression,", _one_or_several(_is_text))
_ANY_METHOD: Mapping[str, _Field] = {
    "base_model_name_or_path": ("the name of a model", lambda value: value is None or _is_text(value)),
    "revision": ("the name of a revision", lambda value: value is None or _is_text(value)),
    "target_modules": _NAMES,
    "exclude_modules": _NAMES,
    "layers_to_transform": ("a number or a list of numbers", _one_or_several(_is_whole)),
    "layers_pattern": ("a name or a list of names", _one_or_several(_is_text)),
}
_LORA: Mapping[str, _Field] = {
    "r": ("a whole number above 0", _is_rank),
    "lora_alpha": ("a number of 32 bits", _is_number),
    "rank_pattern": ("a table of whole numbers above 0", _table_of(_is_rank)),
    "alpha_pattern": ("a table of numbers of 32 bits", _table_of(_is_number)),
    "use_rslora": ("true or false", _is_switch),
    "use_dora": ("true or false", _is_switch),
}
