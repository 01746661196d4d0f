from collections.abc import Sequence

from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._trial import Trial
from saint.training import train_many


def train_trials(journal: Journal, stack: Sequence[Graft], trials: Sequence[Trial]) -> list[Graft | None]:
    """Train candidates of a round, as far as an earlier run has not; None for one that came to nothing."""
    if journal.missing(trials):
        candidates = [trial.candidate for trial in trials]
        found = train_many(journal.base, stack, candidates, journal.data.train, **journal.training(trials))
        journal.keep(trials, found)
    return [journal.trained(trial) for trial in trials]
