"""Evidence that a mean is above a limit, valid for any number of documents and any distribution: betting e-values."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64

from saint.errors import ConfigError, DataError

_NUM_BETS = 30
_SMALLEST, _LARGEST = 1e-3, 0.9
"""Bets as shares of the largest one that cannot lose everything."""


@final
class _Bets(NamedTuple):
    """What was saved beyond the limit, and what is bet on it."""

    excess: Float64[np.ndarray, " documents"]
    sizes: Float64[np.ndarray, " bets"]

    @property
    def log_gains(self) -> Float64[np.ndarray, "bets documents"]:
        """ln(1 + bet * excess): what each document multiplies each bet's wealth by."""
        gains: Float64[np.ndarray, "bets documents"] = np.log1p(self.sizes[:, None] * self.excess[None, :])
        return gains


def log_e_value(differences: Float64[np.ndarray, " documents"], *, above: float, clip: float) -> float:
    """How strongly documents speak against a mean of at most `above`, in nats: a level alpha takes ln(1/alpha).

    With x_i = clip(d_i, -clip, clip) - above, e = mean over bets b of prod_i (1 + b x_i). Whatever the distribution,
    each factor has expectation of at most 1 if the mean of the clipped differences is at most `above`, so e has as
    well, and by Markov's inequality P(e >= 1/alpha) <= alpha, for every number of documents and in any order of them.

    Args:
        differences: What each document saves; documents are independent of each other.
        clip: What is beyond it counts as much, either way. To be fixed without these documents.

    Raises:
        DataError: There are fewer than two documents, or one has no number.
        ConfigError: `clip` is not above `-above`, so that nothing could be bet on.

    Source:
        Waudby-Smith and Ramdas 2024, arXiv:2010.09686, section 4; a fixed grid of bets instead of adaptive ones.
    """
    totals = _bets(differences, above, clip).log_gains.sum(1)
    return float(_log_mean(totals[:, None])[0])


def running_log_e_values(
    differences: Float64[np.ndarray, " documents"], *, above: float, clip: float
) -> Float64[np.ndarray, " documents"]:
    """The same after each document, in the order that they come in.

    One may stop at the first that is high enough (Ville's inequality), if the order was drawn without looking at them.

    Raises:
        DataError: There are fewer than two documents, or one has no number.
        ConfigError: `clip` is not above `-above`.
    """
    return _log_mean(np.cumsum(_bets(differences, above, clip).log_gains, axis=1))


def _bets(differences: Float64[np.ndarray, " documents"], above: float, clip: float) -> _Bets:
    if len(differences) < 2:
        raise DataError(f"evidence needs at least 2 documents, got {len(differences)}; give more text")
    if not np.isfinite(differences).all():
        place = int(np.flatnonzero(~np.isfinite(differences))[0])
        raise DataError(f"document {place} has a difference that is not a number; measure it again")
    if not clip + above > 0:
        raise ConfigError(f"clip is {clip:g} where {above:g} is asked for; it must be larger than {-above:g}")
    return _Bets(
        excess=np.clip(differences, -clip, clip) - above,
        sizes=np.geomspace(_SMALLEST, _LARGEST, _NUM_BETS) / (clip + above),
    )


def _log_mean(logs: Float64[np.ndarray, "bets n"]) -> Float64[np.ndarray, " n"]:
    """The logarithm of the mean over bets, from logarithms."""
    top = logs.max(0)
    mean: Float64[np.ndarray, " n"] = top + np.log(np.exp(logs - top).mean(0))
    return mean


def bets_of(clip: float, above: float) -> Float64[np.ndarray, " bets"]:
    """The bets that are made, for whoever works out what they are worth."""
    return np.geomspace(_SMALLEST, _LARGEST, _NUM_BETS) / (clip + above)
