"""The axioms that make a Shapley value one, on made-up games, and its definition by all orders."""

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest

from saint.evaluation._shapley import (
    Coalition,
    Worth,
    antithetic_orders,
    contributions,
    interaction,
    shapley_values,
)

NUM_DOCUMENTS = 3


def a_game(num_players: int, seed: int = 0) -> Worth:
    """What every coalition is worth, at random."""
    random = np.random.default_rng(seed)
    every = [frozenset(c) for size in range(num_players + 1) for c in combinations(range(num_players), size)]
    table = {coalition: random.normal(size=NUM_DOCUMENTS) for coalition in every}
    return lambda coalition: table[coalition]


def an_additive_game(num_players: int) -> Worth:
    """Nobody's contribution depends on who else is there."""
    alone = np.random.default_rng(1).normal(size=(num_players, NUM_DOCUMENTS))
    return lambda coalition: alone[sorted(coalition)].sum(0)


def counted(game: Worth) -> tuple[Worth, set[Coalition]]:
    asked: set[Coalition] = set()

    def worth(coalition: Coalition) -> np.ndarray:
        asked.add(coalition)
        return game(coalition)

    return worth, asked


@pytest.mark.parametrize("num_players", [0, 1, 2, 5])
def test_efficiency(num_players: int) -> None:
    game = a_game(num_players)
    total = game(frozenset(range(num_players))) - game(frozenset())
    assert shapley_values(game, num_players).sum(0) == pytest.approx(total, abs=1e-12)


def test_symmetry() -> None:
    game = a_game(5)

    def even(coalition: Coalition) -> np.ndarray:
        """Players 1 and 3 can stand in for each other."""
        swapped = frozenset({1: 3, 3: 1}.get(player, player) for player in coalition)
        return game(coalition) + game(swapped)

    values = shapley_values(even, 5)
    assert values[1] == pytest.approx(values[3])
    assert values[1] != pytest.approx(values[0])


def test_a_dummy_gets_what_it_brings_everywhere() -> None:
    game, brings = a_game(4), np.array([0.5, 0.0, -2.0])
    values = shapley_values(lambda coalition: game(coalition - {4}) + brings * (4 in coalition), 5)
    assert values[4] == pytest.approx(brings)
    assert values[:4] == pytest.approx(shapley_values(game, 4))


def test_linearity() -> None:
    one, other = a_game(4, seed=1), a_game(4, seed=2)
    both = shapley_values(lambda coalition: 2 * one(coalition) - 3 * other(coalition), 4)
    assert both == pytest.approx(2 * shapley_values(one, 4) - 3 * shapley_values(other, 4))


@pytest.mark.parametrize("num_players", [1, 3, 5])
def test_exact_values_are_the_mean_over_all_orders(num_players: int) -> None:
    game = a_game(num_players)
    orders = list(permutations(range(num_players)))
    assert shapley_values(game, num_players) == pytest.approx(contributions(game, orders).mean(0))


def test_in_every_order_contributions_sum_to_the_total() -> None:
    game = a_game(6)
    total = game(frozenset(range(6))) - game(frozenset())
    for row in contributions(game, antithetic_orders(6, 4, seed=0)):
        assert row.sum(0) == pytest.approx(total)


def test_sampled_values_converge() -> None:
    game = a_game(6)
    exact = shapley_values(game, 6)

    def error(num_pairs: int) -> float:
        tries = [contributions(game, antithetic_orders(6, num_pairs, seed=seed)).mean(0) for seed in range(8)]
        return float(np.sqrt(np.mean((np.array(tries) - exact) ** 2)))

    assert error(256) < error(4) / 4, "64 times the orders, an eighth of the error but for luck"
    assert error(256) < 0.1


def test_each_order_is_followed_by_its_reverse_and_a_seed_gives_the_same_ones() -> None:
    orders = antithetic_orders(9, 5, seed=3)
    assert [order[::-1] for order in orders[::2]] == orders[1::2]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert antithetic_orders(9, 5, seed=3) == orders != antithetic_orders(9, 5, seed=4)


def test_of_an_additive_game_one_pair_of_orders_says_all() -> None:
    game = an_additive_game(6)
    assert contributions(game, antithetic_orders(6, 1, seed=0)).mean(0) == pytest.approx(shapley_values(game, 6))


def test_sampling_asks_for_no_more_than_the_orders_pass_through() -> None:
    worth, asked = counted(lambda coalition: np.full(NUM_DOCUMENTS, float(len(coalition))))
    contributions(worth, antithetic_orders(20, 3, seed=0))
    assert len(asked) <= 2 + 2 * 3 * 19


@pytest.mark.parametrize("make", [an_additive_game, a_game])
def test_interactions_are_nothing_where_contributions_do_not_depend_on_who_is_there(
    make: Callable[[int], Worth],
) -> None:
    found = [interaction(make(5), one, other, range(5)) for one, other in combinations(range(5), 2)]
    assert (np.abs(found).max() < 1e-12) == (make is an_additive_game)


def test_an_interaction_is_what_comes_of_being_together() -> None:
    game, bonus = an_additive_game(5), np.array([1.0, -1.0, 0.0])

    def worth(coalition: Coalition) -> np.ndarray:
        return game(coalition) + bonus * ({1, 2} <= coalition)

    assert interaction(worth, 1, 2, range(5)) == pytest.approx(bonus)
    assert interaction(worth, 1, 3, range(5)) == pytest.approx(np.zeros(3))
