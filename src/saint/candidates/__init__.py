"""From a sensitivity map and a budget to the grafts worth trying."""

from saint.candidates._fill import Filling as Filling, Preference as Preference, fill_budget as fill_budget
from saint.candidates._propose import (
    Proposal as Proposal,
    lora_control as lora_control,
    num_params as num_params,
    propose as propose,
)
from saint.candidates._refine import refined_sites as refined_sites
