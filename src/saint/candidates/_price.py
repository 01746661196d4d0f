"""What a candidate costs before anything is built: counts, which are the same on every machine."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saint import grafts, records
from saint.errors import BudgetError, SiteError
from saint.grafts import Place, kind_and_options
from saint.records import Budget, Candidate, Site

_TOKENS = (2, 32)  # of the probe, over which costs are measured when a graft is evaluated
_NUM_TOKENS = 64


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a graft adds to what stands."""

    num_params: int
    num_bytes: int
    """Of its file."""
    flops_per_token: int
    """Forward operations per token, unmerged, over a batch of 64 tokens. At an insertion point the products of
    attention between tokens are left out, as their number grows with the sequence."""
    per_block: Mapping[str, int]
    """Block -> parameters there; blocks are called as in `Budget.per_layer`, and sites outside of blocks left out."""


def price(candidate: Candidate, sites: Sequence[Site]) -> Price:
    """What a candidate would cost.

    Args:
        sites: All sites of the base.

    Raises:
        SiteError: The kind cannot be at one of the candidate's sites.
    """
    chosen = candidate.kind, candidate.options
    num_bytes = grafts.num_bytes(*chosen, candidate.sites)  # the first, for it is what refuses a site
    per_block: Counter[str] = Counter()
    for site in candidate.sites:
        if site.depth >= 0:
            per_block[block_of(site)] += grafts.num_params(*chosen, [site])
    flops = sum(_forward_flops(candidate, site, sites) for site in candidate.sites)
    return Price(
        num_params=num_params(candidate),
        num_bytes=num_bytes,
        flops_per_token=flops // _NUM_TOKENS,
        per_block=dict(per_block),
    )


def num_params(candidate: Candidate) -> int:
    """What a candidate would train, before anything is built."""
    return grafts.num_params(candidate.kind, candidate.options, candidate.sites)


def block_of(site: Site) -> str:
    """What `Budget.per_layer` calls the block that a site is in."""
    return f"{site.depth}" if site.stream == "decoder" else f"{site.stream}.{site.depth}"


def train_flops(candidate: Candidate, sites: Sequence[Site], *, num_tokens: int, seq_len: int) -> int:
    """Operations of training a candidate on `num_tokens` tokens, without a cache of what is below its lowest site.

    Forward through the whole base; backward, which costs as much again where no weight learns, through what is above
    its lowest site; and three times the graft's own forward operations, for it also has gradients of weights. Attention
    is causal, its backward pass costs two forward ones.

    Args:
        sites: All sites of the base.
        seq_len: Tokens in a window, which attend to each other.
    """
    lowest = min(_height(site) for site in candidate.sites)
    total = 3 * price(candidate, sites).flops_per_token
    for site in sites:
        if site.sort == "linear":
            is_above = lowest <= _height(site) and lowest[1] < inf  # a lone graft at the head asks for none below it
            total += 2 * site.d_in * site.d_out * (1 + is_above)
            if site.role in ("o", "cross_o"):
                total += 2 * site.d_in * seq_len * (1 + 2 * is_above)
    return total * num_tokens


def affordable(
    candidates: Iterable[Candidate], sites: Sequence[Site], budget: Budget, *, num_tokens: int, seq_len: int
) -> list[Candidate]:
    """Those candidates, in their order, that `budget.train_flops` can train all together.

    One that is too dear does not keep a cheaper one behind it out.

    Args:
        budget: What is left of it.
        num_tokens: Tokens that each of them learns from.

    Raises:
        BudgetError: There are candidates, and not even the cheapest can be trained.
    """
    priced = [(train_flops(one, sites, num_tokens=num_tokens, seq_len=seq_len), one) for one in candidates]
    left = inf if budget.train_flops is None else budget.train_flops
    found = []
    for flops, candidate in priced:
        if flops <= left:
            left -= flops
            found.append(candidate)
    if priced and not found:
        flops, cheapest = min(priced, key=lambda pair: pair[0])
        raise too_dear(cheapest, "train_flops", flops, left)
    return found


class Limit(NamedTuple):
    """What a candidate takes of one thing that is limited."""

    key: str
    """Of the budget."""
    asked: float
    allowed: float

    @property
    def share(self) -> float:
        """Of what is allowed; infinite where nothing is."""
        return self.asked / self.allowed if self.allowed > 0 else inf if self.asked else 0.0


def tightest(price: Price, budget: Budget) -> Limit:
    """The limit that a candidate takes the largest share of; it fits if that is at most 1.

    Limits of all trials together are not among them: those depend on how long a trial is.
    """
    limits = [Limit("num_params", price.num_params, budget.num_params)]
    if budget.num_bytes is not None:
        limits.append(Limit("num_bytes", price.num_bytes, budget.num_bytes))
    if budget.flops_per_token is not None:
        limits.append(Limit("flops_per_token", price.flops_per_token, budget.flops_per_token))
    for block, asked in price.per_block.items():
        if (allowed := budget.of_block(block)) is not None:
            limits.append(Limit(f"per_layer of block {block}", asked, allowed))
    return max(limits, key=lambda limit: limit.share)


def fits(price: Price, budget: Budget) -> bool:
    """Whether what has such a price may stand within what is left of a budget."""
    return tightest(price, budget).share <= 1


def left_of(budget: Budget, standing: Iterable[Price]) -> Budget:
    """What grafts that stand leave of a budget; what trials have spent is not taken off."""
    standing = list(standing)
    taken = sum((Counter(price.per_block) for price in standing), Counter[str]())
    per_layer = budget.per_layer
    if per_layer is not None:
        named = per_layer if isinstance(per_layer, Mapping) else {"*": per_layer}
        blocks = {block: limit for block in taken if (limit := budget.of_block(block)) is not None}
        per_layer = {**named, **{block: limit - taken[block] for block, limit in blocks.items()}}
    return replace(
        budget,
        num_params=budget.num_params - sum(price.num_params for price in standing),
        num_bytes=None if budget.num_bytes is None else budget.num_bytes - sum(p.num_bytes for p in standing),
        flops_per_token=None
        if budget.flops_per_token is None
        else budget.flops_per_token - sum(p.flops_per_token for p in standing),
        per_layer=per_layer,
    )


def check_blocks(budget: Budget, sites: Iterable[Site]) -> None:
    """Refuse a limit for a block that the base does not have.

    Raises:
        SiteError: Names the block, and those that there are.
    """
    there = sorted({block_of(site) for site in sites if site.depth >= 0}, key=lambda block: (len(block), block))
    named = budget.per_layer if isinstance(budget.per_layer, Mapping) else {}
    if unknown := [block for block in named if block != "*" and block not in there]:
        raise SiteError(
            f"budget.per_layer names the block {unknown[0]!r}, and the base has {', '.join(there)}; name one of these"
        )


def too_dear(candidate: Candidate, key: str, asked: float, allowed: float) -> BudgetError:
    """The error for a budget that not even the cheapest candidate fits."""
    words = _WORDS.get(key, f"parameters {key.partition(' ')[2]}")
    return BudgetError(
        f"no candidate fits the {allowed:,.0f} {words} that are left: the cheapest is {candidate.kind} at "
        f"{len(candidate.sites)} sites with {asked:,.0f}; raise budget.{key.partition(' ')[0]} or propose "
        + ("a shorter schedule" if key == "train_flops" else "smaller options")
    )


_WORDS = {
    "num_params": "parameters",
    "num_bytes": "bytes",
    "flops_per_token": "FLOPs per token",
    "train_flops": "FLOPs of training",
}


def _height(site: Site) -> tuple[bool, float]:
    """How far up the model a site is; what is after a block is above all that is in it."""
    depth = inf if site.depth < 0 else site.depth + (site.sort in ("block", "insertion"))
    return site.stream == "decoder", depth


def _forward_flops(candidate: Candidate, site: Site, sites: Iterable[Site]) -> int:
    """Operations of the probe's tokens through the part at one site."""
    if site.sort == "insertion":
        if not kind_and_options(candidate.kind, candidate.options, site)[0].can_grow:
            return 0  # it changes layers that stand there
        inside = f"{site.module}."
        maps = (other for other in sites if other.sort == "linear" and other.module.startswith(inside))
        num_layers = grafts.num_params(candidate.kind, candidate.options, [site]) // site.num_params
        return _NUM_TOKENS * num_layers * sum(2 * other.d_in * other.d_out for other in maps)
    named = site.key in candidate.options.get("at", {})
    alike = site if named else replace(site, module="", depth=0)
    return _counted(candidate.kind, records.to_canonical(candidate.options), alike)


@lru_cache(maxsize=1 << 14)
def _counted(kind: str, options: str, site: Site) -> int:
    """Counted while the part runs on tensors that have shapes only; sites of one shape are asked once.

    Args:
        options: In canonical JSON.
    """
    found, chosen = kind_and_options(kind, json.loads(options), site)
    with torch.device("meta"), torch.no_grad():
        part = found(site, chosen).to("meta")  # also what it made of numbers of its own
        place = _blank_place(site)
        part.attach(place)
        x, y = torch.empty(*_TOKENS, site.d_in), torch.empty(*_TOKENS, site.d_out)
        with FlopCounterMode(display=False) as counter:
            if part.is_weight:  # that is changed once, however many tokens there are
                part.fold(place.module.weight, place.module.bias)
            else:
                part(x, y)
    return int(counter.get_total_flops() + _NUM_TOKENS * part.uncounted_flops)


def _blank_place(site: Site) -> Place:
    """A place of the right shapes: a linear map, or what an MLP has beside its linear maps, an activation."""
    module: Any = nn.Linear(site.d_in, site.d_out) if site.sort == "linear" else nn.Sequential(nn.SiLU())

    def read_weight() -> Tensor | None:
        return module.weight if site.sort == "linear" else None

    return Place(module=module, read_weight=read_weight)
