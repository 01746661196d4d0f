import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from itertools import count
from unittest.mock import patch

import torch

from saint import discovery, records
from saint.candidates import Offer, Policy, Price, Proposal, price, propose
from saint.errors import BudgetError
from saint.records import Budget, Candidate, SensitivityMap, Site
from saint.testing._tiny import tiny_base

_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_TOP = 1000


class PolicySuite:
    """What every routing policy must keep: subclass it and set `policy`."""

    policy: str

    def build(self) -> Policy:
        """The policy as proposing builds it."""
        return discovery.find("candidates", self.policy, Policy)()

    def sites(self) -> Sequence[Site]:
        """The sites that candidates are at."""
        return _sites()

    def proposals(self) -> list[Proposal]:
        """Of several kinds, bundles and prices."""
        return [
            Proposal(kind="lora", options={"rank": 1}, bundle="site"),
            Proposal(kind="phi", options={"rank": 4}, bundle="role_region", regions=2, union=True),
            Proposal(kind="block", options={"width": 3}, bundle="depth"),
        ]

    def sensitivity(self, *, scale: float = 1.0) -> SensitivityMap:
        """A score for every site, none like another."""
        scores = {site.key: scale * (1 + index * 7 % 23) for index, site in enumerate(self.sites())}
        return SensitivityMap(method="made up", scores=scores)

    def offers(self) -> list[Offer]:
        """Some candidates at sites of three roles, with prices and worths that agree in no order."""
        offers = []
        for index, site in enumerate(site for site in self.sites() if site.role in ("q", "down", "head")):
            cost = Price(num_params=100 - 9 * index, num_bytes=400, flops_per_token=20, per_block={"0": 1})
            candidate = Candidate(sites=(site,), kind="lora", options={"rank": 1})
            worth = float(1 + index * 3 % 7)
            offers.append(Offer(candidate=candidate, group=site.role, worth=worth, price=cost, share=0.3 + index / 10))
        return offers

    def ideas(self, *, seed: int = 0, scale: float = 1.0, budget: Budget | None = None) -> list[Candidate]:
        """What is proposed."""
        budget = budget or Budget(num_params=10**6, train_tokens=1)
        sensitivity = self.sensitivity(scale=scale)
        return propose(self.sites(), sensitivity, self.proposals(), budget, top=_TOP, seed=seed, policy=self.policy)

    def test_every_offer_is_ordered_once(self) -> None:
        offers = self.offers()
        ordered = self.build().order(offers, seed=0)
        assert len(ordered) == len(offers) > 4
        assert all(offer in ordered for offer in offers)
        assert self.build().order([], seed=0) == []

    def test_the_same_seed_gives_the_same_order(self) -> None:
        assert self.build().order(self.offers(), seed=3) == self.build().order(self.offers(), seed=3)
        assert self.ideas(seed=3) == self.ideas(seed=3)

    def test_the_order_of_the_sites_does_not_matter(self) -> None:
        expected = self.ideas(seed=1)
        sites = list(self.sites())
        for seed in range(3):
            random.Random(seed).shuffle(sites)  # noqa: S311 - a shuffle that can be repeated is what is wanted
            found = propose(
                sites,
                self.sensitivity(),
                self.proposals(),
                Budget(num_params=10**6, train_tokens=1),
                top=_TOP,
                seed=1,
                policy=self.policy,
            )
            assert found == expected

    def test_no_limit_is_exceeded_and_all_that_fits_is_there(self) -> None:
        plenty = Budget(num_params=10**6, train_tokens=1)
        prices = {records.digest(one): price(one, self.sites()) for one in self.ideas(budget=plenty)}
        limits = [
            replace(plenty, num_params=100),
            replace(plenty, num_bytes=700),
            replace(plenty, flops_per_token=300),
            replace(plenty, per_layer={"0": 40, "*": 60}),
        ]
        for budget in limits:
            fitting = {digest for digest, asked in prices.items() if _fits(asked, budget)}
            assert 0 < len(fitting) < len(prices), budget
            assert {records.digest(one) for one in self.ideas(budget=budget)} == fitting

    def test_a_budget_that_nothing_fits_is_refused(self) -> None:
        try:
            self.ideas(budget=Budget(num_params=10**6, train_tokens=1, num_bytes=3))
        except BudgetError as error:
            assert "fits the 3 bytes" in str(error)  # noqa: PT017 - a suite that plug-ins run needs no pytest
        else:
            raise AssertionError("nothing fits three bytes")

    def test_it_looks_at_no_clock_and_at_no_global_chance(self) -> None:
        offers, expected = self.offers(), self.build().order(self.offers(), seed=2)
        for seed in (0, 1):
            random.seed(seed)
            torch.manual_seed(seed)
            before = random.getstate(), torch.get_rng_state()
            with ExitStack() as patched:
                for clock in _CLOCKS:
                    patched.enter_context(patch(f"time.{clock}", count(10**seed).__next__))
                assert self.build().order(offers, seed=2) == expected
            assert random.getstate() == before[0]
            assert torch.equal(torch.get_rng_state(), before[1])

    def test_the_scale_of_a_map_does_not_matter(self) -> None:
        assert self.ideas(scale=4.0) == self.ideas() == self.ideas(scale=0.25)

    def test_it_says_where_the_idea_is_from(self) -> None:
        policy = discovery.find("candidates", self.policy, Policy)
        assert policy.reference
        assert policy.__doc__


@lru_cache(maxsize=1)
def _sites() -> list[Site]:
    return tiny_base().sites()


def _fits(asked: Price, budget: Budget) -> bool:
    """Whether a price is within every limit, written out once more."""
    return (
        asked.num_params <= budget.num_params
        and asked.num_bytes <= (budget.num_bytes or asked.num_bytes)
        and asked.flops_per_token <= (budget.flops_per_token or asked.flops_per_token)
        and all(num <= (budget.of_block(block) or num) for block, num in asked.per_block.items())
    )
