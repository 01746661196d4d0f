from saint.data import Splits
from saint.errors import HoldOutError, StaleEvidenceError
from saint.evaluation import Losses, SuiteValues
from saint.growth._alone import in_turn
from saint.growth._controls import measure_arms, train_controls
from saint.growth._curve import extend_curve
from saint.growth._grown import grown_in
from saint.growth._journal import Journal
from saint.growth._judging import judge_in_turn, weigh
from saint.growth._plan import Plan
from saint.growth._result import measure_result
from saint.growth._workforce import Workforce
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.registry import Entry, Registry


def grow(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    *,
    progress: Progress | None = None,
    workforce: Workforce | None = None,
) -> list[Entry]:
    """Try what the budget allows, keep what the gates accept, and measure the result once.

    Every step is in the ledger before the next begins, so that a run which was stopped or killed goes on from there
    when it is called again with the same arguments. Several processes may grow one registry: they take turns, a round
    each, and each goes on from what the ledger says then.

    Where sealed text may not be asked any more, growth is over: nothing more is trained for it, and what stands is
    measured on the vault all the same.

    Args:
        workforce: Who trains; without one all is trained here. What comes of it is the same to the bit on machines of
            one sort, however many there are and however often they die, where `search.exact` holds and each has as
            many threads.

    Returns:
        What the gates were asked about, in the order of the ledger, earlier calls included.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        BudgetError: The first round has no candidate that fits the budget.
        HoldOutError: Sealed text may not be asked any more, and rounds were left; what stands has been measured.
        WorkerError: No worker is left.
    """
    progress = progress or Silent()
    progress = progress if workforce is None else workforce.watched(progress)
    journal = Journal(registry, base, data, plan, progress, workforce)
    losses, values = Losses(seq_len=plan.evaluation_seq_len, progress=progress), SuiteValues(data.tokenizer)
    while True:
        with in_turn(registry, progress):
            journal.have_policy()
            over = None
            if (number := next(journal.rounds(), None)) is not None:
                over = _whole_round(journal, losses, values, number)
            if number is None or over is not None:
                if workforce is not None:
                    workforce.finish(journal)
                measure_result(journal, losses)
                break
    if over is not None:
        raise over
    return registry.state.judged


def _whole_round(journal: Journal, losses: Losses, values: SuiteValues, number: int) -> HoldOutError | None:
    """Do what is left of a round; returns why sealed text ended growth in it, if it did.

    Where somebody takes a graft out meanwhile, what was measured on it is not recorded, and the next turn begins anew.
    """
    try:
        journal.be_ready_to_judge()
        _round(journal, losses, values, number)
    except HoldOutError as error:
        journal.give_up(number, str(error))
        return error
    except StaleEvidenceError as error:
        journal.progress.note(f"what stands was changed while round {number + 1} was judged ({error})")
    return None


def _round(journal: Journal, losses: Losses, values: SuiteValues, number: int) -> None:
    stack, workforce = journal.stack_below(number), journal.workforce
    if workforce is not None:
        workforce.begin_round(number)
    grafts = grown_in(journal, losses, number, stack)
    while finalists := journal.finalists(number, grafts):  # again after each that comes to stand
        weighed = weigh(journal, losses, values, number, finalists)
        judge_in_turn(journal, losses, values, number, weighed)
        if workforce is not None:
            workforce.validate(journal)
    extend_curve(journal, losses, number)
    train_controls(journal, losses, number)
    if workforce is not None:
        workforce.close_round(journal, number)
    journal.close_round(number, measure_arms(journal, losses, journal.data.select))
