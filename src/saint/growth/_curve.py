"""The growth curve: what the stack came to after each round, beside what that took."""

from math import log

from saint.data import Corpus
from saint.evaluation import Losses
from saint.growth._journal import Journal


def extend_curve(journal: Journal, losses: Losses, number: int | None) -> None:
    """Write a point of the curve down, unless an earlier run has: what the stack that stands loses on development text.

    Sealed text answers gates, one bit a query, so a curve must not be drawn from it. A stack whose topmost graft was
    just judged is not measured again. The bare base's point is the first, and has cost nothing.

    Args:
        number: The round that ends; None for the bare base.
    """
    state, data = journal.state, journal.data
    grown = data.select[data.grown_domain]
    standing = [] if number is None else state.standing
    if any(point["round"] == number and point["stack"] == standing for point in state.curve):
        return
    stack = [] if number is None else journal.stack()

    def bpb(corpus: Corpus) -> float:
        return float(losses.of(journal.base, stack, corpus).sum()) / log(2) / corpus.num_bytes

    spent = state.spent
    body = {
        "round": number,
        "stack": standing,
        "split": "select",
        "grown_bpb": bpb(grown),
        "gain_bpb": losses.saved(journal.base, (), stack, grown) if stack else None,
        "retain_bpb": {name: bpb(corpus) for name, corpus in data.select.items() if name != data.grown_domain},
        "num_params": sum(graft.num_params for graft in stack),
        "train_tokens": 0 if number is None else spent.train_tokens,
        "train_flops": 0.0 if number is None else spent.train_flops,
        "train_seconds": 0.0 if number is None else spent.train_seconds,
    }
    journal.registry.write("curve_measured", body)
