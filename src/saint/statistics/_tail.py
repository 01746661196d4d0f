"""How rare something is at the most, from how often it was seen: exact binomial tests."""

from math import log, log1p

import numpy as np

from saint.errors import ConfigError, DataError

_NUM_HALVINGS = 60


def log_tail_p_value(num_heavy: int, num_documents: int, *, at_most: float) -> float:
    """How surprising so few are if the share of all documents were `at_most`: ln P(X <= num_heavy) for X binomial.

    At a level alpha it is shown that the share is lower from -ln(1/alpha) down. That is the same as Clopper and
    Pearson's upper bound at that level being below `at_most`.

    Args:
        num_heavy: Documents that have what is to be rare.
        num_documents: Documents, independent of each other.
        at_most: The share that is to be excluded.

    Raises:
        DataError: The counts cannot be.
        ConfigError: The share is none.

    Source:
        Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    _must_be_counts(num_heavy, num_documents)
    if not 0 < at_most < 1:
        raise ConfigError(f"the share to be excluded is {at_most}; it must be between 0 and 1")
    i = np.arange(1, num_heavy + 1)
    odds = log(at_most) - log1p(-at_most)
    logs = np.cumsum(np.log((num_documents - i + 1) / i) + odds)  # of each count's probability over that of none
    top = max(0.0, float(logs.max(initial=0.0)))
    total = top + log(np.exp(-top) + float(np.exp(logs - top).sum()))
    return min(0.0, num_documents * log1p(-at_most) + total)


def clopper_pearson_upper(num_heavy: int, num_documents: int, *, alpha: float) -> float:
    """The largest share of all documents that seeing so few does not exclude at the level alpha.

    Raises:
        DataError: The counts cannot be.
        ConfigError: Alpha is no probability.
    """
    _must_be_counts(num_heavy, num_documents)
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}; it must be between 0 and 1")
    if num_heavy == num_documents:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        shown = log_tail_p_value(num_heavy, num_documents, at_most=middle) <= log(alpha)
        low, high = (low, middle) if shown else (middle, high)
    return high


def _must_be_counts(num_heavy: int, num_documents: int) -> None:
    if not 0 <= num_heavy <= num_documents or num_documents < 1:
        raise DataError(f"{num_heavy} of {num_documents} documents cannot be; give at least 1 document")
