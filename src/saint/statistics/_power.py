"""How many documents a claim takes, before any sealed one is looked at."""

from functools import lru_cache
from math import inf, isfinite, sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from saint.errors import ConfigError
from saint.statistics._betting import bets_of

_NUM_NODES = 401
_WIDEST = 8.0  # standard deviations
_MOST_DOCUMENTS = 1 << 40


def documents_needed(
    effect: float, spread: float, log_threshold: float, *, clip: float, above: float = 0.0, power: float = 0.8
) -> int:
    """About how many documents show a mean above a limit, if their differences are normally distributed.

    Each bet's ln wealth is a sum of independent terms, so nearly normal, with mean and variance by quadrature. Bets of
    all sizes win and lose on the same documents, so their quantiles are taken together; the number is the smallest at
    which the mixture's quantile is at the threshold.

    Args:
        effect: By how much the mean lies above the limit.
        spread: Standard deviation of the differences, in the same unit.
        log_threshold: ln(1/alpha) of the question.
        clip: Where differences are clipped, in the same unit.
        above: The limit.
        power: Probability that so many documents show it.

    Returns:
        2^40 where no number of documents does.

    Raises:
        ConfigError: `clip` is not a positive number above `-above`, `power` is no probability, or the effect, its
            spread or the threshold is not a finite number.
    """
    if not (isfinite(effect) and isfinite(log_threshold) and 0 <= spread < inf and 0 < power < 1):
        raise ConfigError(
            f"effect {effect:g}, spread {spread:g}, threshold {log_threshold:g} and power {power:g} cannot be planned "
            "with; give finite numbers, and a power between 0 and 1"
        )
    bets_of(clip, above)  # refuses what cannot be bet on
    if effect <= 0:
        return _MOST_DOCUMENTS
    means, deviations = _log_gains(effect / clip, spread / clip, above / clip)
    below = NormalDist().inv_cdf(power)

    def suffices(num: int) -> bool:
        logs = num * means - below * sqrt(num) * deviations
        top = float(logs.max())
        return top + float(np.log(np.exp(logs - top).mean())) >= log_threshold

    low, high = 1, 2
    while not suffices(high):
        low, high = high, 2 * high
        if high >= _MOST_DOCUMENTS:
            return _MOST_DOCUMENTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _log_gains(
    effect: float, spread: float, above: float
) -> tuple[Float64[np.ndarray, " bets"], Float64[np.ndarray, " bets"]]:
    """Mean and standard deviation of ln(1 + bet * excess) of one document, for each bet; the unit is the clip."""
    nodes = np.linspace(-_WIDEST, _WIDEST, _NUM_NODES)
    weights = np.exp(-(nodes**2) / 2)
    weights /= weights.sum()
    excess = np.clip(above + effect + spread * nodes, -1, 1) - above
    gains = np.log1p(bets_of(1.0, above)[:, None] * excess[None, :])
    means = gains @ weights
    return means, np.sqrt(np.maximum(0.0, (gains**2) @ weights - means**2))
