"""What of PEFT's insides this room builds on, in one place: they are private, and change between its versions."""

from saint.errors import MissingPackageError

REMEDY = "pip install 'saint-g[peft]'"

try:
    import peft as peft
    from peft import PeftConfig as PeftConfig, PeftModel as PeftModel
    from peft.mapping import (
        PEFT_TYPE_TO_CONFIG_MAPPING as PEFT_TYPE_TO_CONFIG_MAPPING,
        PEFT_TYPE_TO_PREFIX_MAPPING as PEFT_TYPE_TO_PREFIX_MAPPING,
        PEFT_TYPE_TO_TUNER_MAPPING as PEFT_TYPE_TO_TUNER_MAPPING,
    )
    from peft.tuners.tuners_utils import (
        BaseTuner as BaseTuner,
        BaseTunerLayer as BaseTunerLayer,
        check_adapters_to_merge as check_adapters_to_merge,
    )
    from peft.utils.peft_types import PeftType as PeftType, register_peft_method as register_peft_method
except ModuleNotFoundError as error:
    if error.name == "peft":
        raise MissingPackageError(f"saint.peft needs the package peft: {REMEDY}") from error
    raise
except ImportError as error:
    raise MissingPackageError(
        f"saint.peft needs parts of peft that this version does not have ({error}); {REMEDY}"
    ) from error

_HOOKS = ("_remove_adapter_name_from_key", "_remap_adapter_state_dict_for_load", "_unload_and_optionally_merge")
if missing := [name for name in _HOOKS if not hasattr(BaseTuner, name)]:  # new in 0.21
    raise MissingPackageError(f"saint.peft needs peft to have {missing[0]}, and {peft.__version__} has not; {REMEDY}")
