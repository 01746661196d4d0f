from collections.abc import Sequence

from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._trial import Trial
from saint.training import train_many


def train_trials(journal: Journal, stack: Sequence[Graft], trials: Sequence[Trial]) -> list[Graft | None]:
    """Train candidates of a round, as far as an earlier run has not; None for one that came to nothing.

    Trials that are the same, as two candidates' tries may be, are one training. Where there are workers, each trial is
    one's, and what comes of it is what comes of it here.
    """
    different = list({journal.name_of(trial): trial for trial in trials}.values())
    if not journal.missing(different):
        pass
    elif journal.workforce is not None:
        journal.workforce.train(journal, different)
    else:
        candidates = [trial.candidate for trial in different]
        found = train_many(journal.base, stack, candidates, journal.data.train, **journal.training(different))
        journal.keep(different, found)
    return [journal.trained(trial) for trial in trials]
