"""What is trained in a round: what was proposed, at each learning rate, and what is made of it."""

from collections.abc import Sequence

from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth._curve import extend_curve
from saint.growth._journal import Journal
from saint.growth._layers import must_be_untouched, open_layers
from saint.growth._opening import open_round
from saint.growth._rates import best_of_tries
from saint.growth._refine import refine
from saint.growth._retry import retry
from saint.growth._training import train_trials


def grown_in(journal: Journal, losses: Losses, number: int, stack: Sequence[Graft]) -> list[Graft | None]:
    """What is trained in a round; None for what came to nothing."""
    if journal.plan.layerwise is not None:
        layers = train_trials(journal, stack, [open_layers(journal, losses, number, stack)])
        must_be_untouched(journal, number, stack)
        return layers
    candidates = open_round(journal, losses, number, stack)
    extend_curve(journal, losses, None)
    tries = train_trials(journal, stack, journal.trials(number, stack, candidates))
    grafts = best_of_tries(tries, journal.plan.rates)
    return grafts + refine(journal, losses, number, stack, grafts) + retry(journal, number, stack)
