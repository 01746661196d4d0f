"""Evidence that a mean is above a limit, valid for any number of documents and any distribution: betting e-values."""

from math import inf, isfinite

import numpy as np
from jaxtyping import Float64

from saint.errors import ConfigError, DataError

_NUM_BETS = 30
_SMALLEST, _LARGEST = 1e-3, 0.9
"""Bets as shares of the largest one that cannot lose everything."""


def log_e_value(differences: Float64[np.ndarray, " documents"], *, above: float, clip: float) -> float:
    """How strongly documents speak against a mean of at most `above`, in nats: reject at level alpha from ln(1/alpha).

    With x_i = clip(d_i, -clip, clip) - above, e = mean over bets b of prod_i (1 + b x_i). Every x_i is at least
    -(clip + above) and every bet below 1 / (clip + above), so all factors are positive. If the mean of the clipped
    differences is at most `above`, each factor has expectation of at most 1 whatever the distribution, so e has as
    well, and by Markov's inequality P(e >= 1/alpha) <= alpha, for every number of documents. The order of the documents
    makes no difference, to the bit.

    Args:
        differences: What each document saves; documents are independent of each other.
        above: The limit, in the same unit; below 0 for what may be lost. Both it and `clip` are fixed without these
            documents.
        clip: Beyond it a difference counts no more, either way.

    Raises:
        DataError: There are fewer than two documents, or one has no finite number.
        ConfigError: `clip` is not a positive number above `-above`, so that nothing could be bet.

    Source:
        Waudby-Smith and Ramdas 2024, arXiv:2010.09686, section 4; a fixed grid of bets instead of adaptive ones.
    """
    excess = np.sort(_excess(differences, above, clip))
    totals = np.array([np.log1p(bet * excess).sum() for bet in bets_of(clip, above)])
    return float(_log_mean(totals[:, None])[0])


def running_log_e_values(
    differences: Float64[np.ndarray, " documents"], *, above: float, clip: float
) -> Float64[np.ndarray, " documents"]:
    """The same after each document, in the order that they come in.

    One may stop at the first that is high enough (Ville's inequality), if the order was drawn without looking at them.

    Raises:
        DataError: There are fewer than two documents, or one has no finite number.
        ConfigError: `clip` is not a positive number above `-above`.
    """
    excess = _excess(differences, above, clip)
    return _log_mean(np.cumsum(np.log1p(bets_of(clip, above)[:, None] * excess[None, :]), axis=1))


def bets_of(clip: float, above: float) -> Float64[np.ndarray, " bets"]:
    """The bets that are made, for whoever works out what they are worth.

    Raises:
        ConfigError: `clip` is not a positive number above `-above`.
    """
    if not max(0.0, -above) < clip < inf or not isfinite(above):
        raise ConfigError(
            f"clip is {clip:g} and above {above:g}; give finite numbers, with clip larger than {max(0.0, -above):g}"
        )
    return np.geomspace(_SMALLEST, _LARGEST, _NUM_BETS) / (clip + above)


def _excess(
    differences: Float64[np.ndarray, " documents"], above: float, clip: float
) -> Float64[np.ndarray, " documents"]:
    """What is bet on: how far each clipped difference lies above the limit."""
    if len(differences) < 2:
        raise DataError(f"evidence needs at least 2 documents, got {len(differences)}; give more text")
    if not np.isfinite(differences).all():
        place = int(np.flatnonzero(~np.isfinite(differences))[0])
        raise DataError(f"document {place} has a difference that is not a finite number; measure it again")
    excess: Float64[np.ndarray, " documents"] = np.clip(differences, -clip, clip) - above
    return excess


def _log_mean(logs: Float64[np.ndarray, "bets n"]) -> Float64[np.ndarray, " n"]:
    """From logarithms to the logarithm of the mean over bets."""
    top = logs.max(0)
    mean: Float64[np.ndarray, " n"] = top + np.log(np.exp(logs - top).mean(0))
    return mean
