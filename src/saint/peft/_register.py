from typing import Any

from saint.adapters import GRAFT_TYPE
from saint.errors import MissingPackageError
from saint.peft._internals import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
    REMEDY,
    PeftType,
    peft,
    register_peft_method,
)


def register(config: type, model: type) -> None:
    """Add the method to those that PEFT knows; a second time changes nothing.

    PEFT has a function for that, but it takes only names of its own enumeration, which is closed: the member is added
    by hand, as a true member, since PEFT and transformers read its `value`.

    Raises:
        MissingPackageError: This version of PEFT keeps its methods in another way.
    """
    try:
        _extend(PeftType, GRAFT_TYPE)
        if GRAFT_TYPE not in PEFT_TYPE_TO_TUNER_MAPPING:
            register_peft_method(name=GRAFT_TYPE.lower(), config_cls=config, model_cls=model)
        known = _is_known()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MissingPackageError(f"peft {peft.__version__} takes no further methods ({error}); {REMEDY}") from error
    if not known:
        raise MissingPackageError(f"peft {peft.__version__} did not take {GRAFT_TYPE} as a method; {REMEDY}")


def _extend(enumeration: Any, name: str) -> None:
    """Make `name` a member of an enumeration of strings that is closed to subclassing and assignment."""
    if name in enumeration.__members__:
        return
    member = str.__new__(enumeration, name)
    member._name_ = member._value_ = name
    member.__objclass__ = enumeration
    member._sort_order_ = len(enumeration.__members__)
    enumeration._member_names_.append(name)
    enumeration._member_map_[name] = enumeration._value2member_map_[name] = member
    if hasattr(enumeration, "_hashable_values_"):  # Python 3.13
        enumeration._hashable_values_.append(name)
    type.__setattr__(enumeration, name, member)


def _is_known() -> bool:
    """Whether PEFT finds the method by its name in each way that PEFT and transformers look for one."""
    member = PeftType(GRAFT_TYPE)
    return (
        member is PeftType[GRAFT_TYPE]
        and member in list(PeftType)
        and member.value == GRAFT_TYPE
        and GRAFT_TYPE in PEFT_TYPE_TO_CONFIG_MAPPING
        and GRAFT_TYPE in PEFT_TYPE_TO_TUNER_MAPPING
        and PEFT_TYPE_TO_PREFIX_MAPPING[member] == f"{GRAFT_TYPE.lower()}_"
    )
