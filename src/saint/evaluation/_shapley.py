"""How to share out what members of a stack do together: Shapley values, whatever the game is."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise
from math import comb

import numpy as np
from jaxtyping import Float64

Coalition = frozenset[int]
Worth = Callable[[Coalition], Float64[np.ndarray, " documents"]]
"""What players are worth together, document by document; more is better."""


def shapley_values(worth: Worth, num_players: int) -> Float64[np.ndarray, "players documents"]:
    """What each player adds, averaged over all orders in which they could have come; asks for all 2^players coalitions.

    Document by document the values of all players sum to worth(everybody) - worth(nobody).

    Source:
        Shapley 1953, "A value for n-person games", doi:10.1515/9781400881970-018.
    """
    values = np.zeros((num_players, len(worth(frozenset()))))
    for player in range(num_players):
        others = [other for other in range(num_players) if other != player]
        for size in range(num_players):
            weight = 1 / (num_players * comb(num_players - 1, size))
            for before in map(frozenset, combinations(others, size)):
                values[player] += weight * (worth(before | {player}) - worth(before))
    return values


def contributions(worth: Worth, orders: Sequence[Sequence[int]]) -> Float64[np.ndarray, "orders players documents"]:
    """What each player adds to those that came before it, in each order; the mean over orders estimates Shapley values.

    In every single order they sum to worth(everybody) - worth(nobody), so the estimates do too.

    Source:
        Castro, Gomez and Tejada 2009, doi:10.1016/j.cor.2008.04.004.
    """
    found = np.zeros((len(orders), len(orders[0]), len(worth(frozenset()))))
    for row, order in zip(found, orders, strict=True):
        for player, (before, after) in zip(order, pairwise(prefixes(order)), strict=True):
            row[player] = worth(after) - worth(before)
    return found


def antithetic_orders(num_players: int, num_pairs: int, *, seed: int) -> list[tuple[int, ...]]:
    """Random orders of the players, each followed by its reverse, whose errors have opposite signs more often than not.

    Source:
        Mitchell, Cooper, Frank and Holmes 2022, arXiv:2104.12199.
    """
    random = np.random.default_rng(seed)
    drawn = [tuple(random.permutation(num_players).tolist()) for _ in range(num_pairs)]
    return [order for first in drawn for order in (first, first[::-1])]


def prefixes(order: Sequence[int]) -> list[Coalition]:
    """Who is there before each player comes, and at the end."""
    return [frozenset(order[:size]) for size in range(len(order) + 1)]


def interaction(worth: Worth, one: int, other: int, everybody: Iterable[int]) -> Float64[np.ndarray, " documents"]:
    """What two players gain together less the sum of what each gains apart, on top of all the rest.

    Source:
        Grabisch and Roubens 1999, doi:10.1007/s001820050125: the discrete second derivative of the game.
    """
    rest = frozenset(everybody) - {one, other}
    apart = worth(rest | {one}) + worth(rest | {other}) - 2 * worth(rest)
    gained: Float64[np.ndarray, " documents"] = worth(rest | {one, other}) - worth(rest) - apart
    return gained
