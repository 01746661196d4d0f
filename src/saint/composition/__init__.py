"""The base and its grafts as one model, without touching the base; and such models in other people's formats.

Also models that were trained apart, as one.
"""

from saint.composition._angles import (
    Angles as Angles,
    overlap as overlap,
    overlap_with as overlap_with,
    principal_angles as principal_angles,
)
from saint.composition._change import WeightChange as WeightChange, weight_change as weight_change
from saint.composition._compose import (
    Composed as Composed,
    apply_parts as apply_parts,
    compose as compose,
    compose_beside as compose_beside,
)
from saint.composition._dock import dock as dock, interface_of as interface_of
from saint.composition._export import (
    export_lora as export_lora,
    export_peft as export_peft,
    exported_difference as exported_difference,
)
from saint.composition._mix import Expert as Expert, average as average, mix as mix
from saint.composition._mixture_cost import MixtureCost as MixtureCost, mixture_cost as mixture_cost
from saint.composition._modes import Modes as Modes
from saint.composition._places import newborn as newborn, place_of as place_of
from saint.composition._prefix import Prefix as Prefix, PrefixCache as PrefixCache
from saint.composition._probe import logits_digest as logits_digest, probe_logits as probe_logits
from saint.composition._restore import restore as restore, restore_one as restore_one
from saint.composition._signals import (
    measure_signals as measure_signals,
    observe as observe,
    wanted_signals as wanted_signals,
)
from saint.composition._suffix import Above as Above, Below as Below, blocks_of as blocks_of, boundary_of as boundary_of
