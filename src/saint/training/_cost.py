"""What training costs on paper: the steps of each way of training, a round of search, and the least it could cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saint.models import ForwardCost, order_of
from saint.records import Site


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """Operations per token of one step of training LoRA at some sites, weights of the base frozen."""

    forward: ForwardCost
    sites: tuple[Site, ...]
    rank: int

    @property
    def boundary(self) -> int:
        """Blocks below every site."""
        return self._first[0]

    @property
    def cached(self) -> int:
        """With what the blocks below give at hand: the rest forward, and backward as far as something learns."""
        return self.forward.above(self.boundary) + self._graft_forward + self._backward

    @property
    def hooks(self) -> int:
        """With the blocks below computed again each time."""
        return self.forward.total + self._graft_forward + self._backward

    @property
    def dense(self) -> int:
        """Of training the bare base, all of it: forward, and backward to inputs and weights."""
        return 3 * self.forward.total

    @property
    def composed(self) -> int:
        """Of a forward pass with the graft."""
        return self.forward.total + self._graft_forward

    @property
    def _graft_forward(self) -> int:
        return sum(2 * self.rank * (site.d_in + site.d_out) for site in self.sites)

    @property
    def _backward(self) -> int:
        blocks, (boundary, order) = self.forward.blocks, self._first
        through = 0
        if boundary < len(blocks):
            above = sum(block.total + block.attention for block in blocks[boundary + 1 :])
            through = blocks[boundary].backward(order) + above + self.forward.head
        # both factors get a gradient, and so do both factors' inputs, but for those below which nothing learns
        unneeded = sum(2 * self.rank * site.d_in for site in self.sites if self._place(site) == self._first)
        return through + 2 * self._graft_forward - unneeded

    @property
    def _first(self) -> tuple[int, int]:
        """The place of the lowest sites."""
        return min(map(self._place, self.sites))

    def _place(self, site: Site) -> tuple[int, int]:
        """How many blocks are below it, and where in its block it is."""
        return (site.depth if site.depth >= 0 else len(self.forward.blocks)), order_of(site.role)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RoundCost:
    """Operations of one round of search, in the ways that there are of going about it."""

    steps: tuple[StepCost, ...]
    """One for each candidate."""
    train_tokens: int
    """That a candidate learns from when it is trained to the end."""
    select_tokens: int
    """Development text; it is read at each evaluation."""
    judge_tokens: int
    """Held-out and retained text, which finalists are judged on."""
    sensitivity_tokens: int
    """That the map looks at."""
    num_evaluations: int
    """On development text, of a candidate that is trained to the end."""

    @property
    def naive(self) -> int:
        """Every candidate by itself, everything computed anew: evaluations, and the base beside each candidate."""
        evaluations = self.num_evaluations * self.select_tokens
        return sum(
            self.train_tokens * one.hooks
            + evaluations * one.composed
            + self.judge_tokens * (one.composed + one.forward.total)
            for one in self.steps
        )

    def searched(self, shares: Sequence[float]) -> int:
        """What the blocks below give computed once, the map asked once, the base judged once, and one finalist.

        Args:
            shares: For each candidate the share of its steps that is taken; 0 for one that is not tried.
        """
        tried = [(one, share) for one, share in zip(self.steps, shares, strict=True) if share]
        below = max((self._below(one) for one, _ in tried), default=0)
        once = (self.train_tokens + self.select_tokens) * below
        trained = sum(share * self._trained(one) for one, share in tried)
        finalist = max(one.composed for one, _ in tried) if tried else 0
        judged = self.judge_tokens * (finalist + self.steps[0].forward.total)
        return round(once + trained + judged) + self._sensitivity

    @property
    def bound(self) -> int:
        """What cannot be saved: the map, and the candidate in the middle of the depth alone, with the blocks below."""
        middle = sorted(self.steps, key=lambda one: one.boundary)[len(self.steps) // 2]
        below = (self.train_tokens + self.select_tokens) * self._below(middle)
        judged = self.judge_tokens * (middle.composed + middle.forward.total)
        return below + self._trained(middle) + judged + self._sensitivity

    def _trained(self, one: StepCost) -> int:
        """One candidate to the end, with what is below at hand."""
        evaluation = one.composed - self._below(one)
        return self.train_tokens * one.cached + self.num_evaluations * self.select_tokens * evaluation

    @property
    def _sensitivity(self) -> int:
        return self.sensitivity_tokens * self.steps[0].dense  # what a gradient map does at every linear map as well

    @staticmethod
    def _below(one: StepCost) -> int:
        return one.forward.total - one.forward.above(one.boundary)
