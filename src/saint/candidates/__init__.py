"""From a sensitivity map and a budget to the grafts worth trying.

Every module here without a leading underscore is one routing policy: it says in which order candidates are worth
trying. Bundling, pricing and what is refused are the room's.
"""

from saint.candidates._bundles import Proposal as Proposal
from saint.candidates._control import lora_control as lora_control, random_control as random_control
from saint.candidates._fill import Filling as Filling, Preference as Preference, fill_budget as fill_budget
from saint.candidates._policy import (
    Offer as Offer,
    Policy as Policy,
    cheapest_among_equals as cheapest_among_equals,
    take_turns as take_turns,
)
from saint.candidates._price import (
    Price as Price,
    affordable as affordable,
    fits as fits,
    left_of as left_of,
    num_params as num_params,
    price as price,
    train_flops as train_flops,
)
from saint.candidates._propose import propose as propose
from saint.candidates._refine import refined_sites as refined_sites
from saint.candidates._routing import Routing as Routing, discounted as discounted, rerank as rerank
