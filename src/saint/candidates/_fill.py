"""From a number of parameters to the size and the sites that spend it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, final

import torch

from saint import discovery, records
from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, kind_and_options
from saint.records import Site

Preference = Callable[[Site, int], float]
"""How much a site is worth having for so many parameters; the highest goes first."""

_MANY_SIZES = 64  # a kind that takes none of the sizes up to here takes none
_FARTHEST_STEP = 64
_FULL_ENOUGH = 0.95  # of a budget


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Filling:
    """How a kind spends a budget."""

    sites: tuple[Site, ...]
    options: Mapping[str, Any]
    """The size that most of the sites have; under `at`, by site key, what the others have."""
    num_params: int


def fill_budget(
    kind: str,
    options: Mapping[str, Any],
    size: str,
    sites: Sequence[Site],
    num_params: int,
    *,
    prefer: Preference,
    may_drop: bool = True,
) -> Filling | None:
    """The largest graft of `kind` at `sites` that trains at most `num_params` parameters; None when nothing fits.

    All sites get one size, the largest that fits (a site too small for it gets what it takes). What is left raises
    single sites by one step, the preferred ones first. Where even the smallest size is too dear for all sites, the
    preferred ones get it, until the budget is full; while that leaves more than 5 % of it, the site that fills it most
    comes in, if need be for another.

    Args:
        options: The kind's other options.
        size: The option that grows, a whole number; "" for a kind that has none.
        may_drop: Whether some of the sites may be left out.

    Raises:
        UnknownNameError: No kind has that name.
        SiteError: The kind can be at none of the sites, whatever its size; the message has its reason.
    """
    prices = _Prices(kind, options, size)
    able = [site for site in sites if prices.smallest(site)]
    if not able or (len(able) < len(sites) and not may_drop):
        refused = next((site for site in sites if not prices.smallest(site)), None)
        reason = prices.refusal(refused) if refused else "there are none"
        raise SiteError(f"{kind} cannot be at its {len(sites)} sites with the options {dict(options)}: {reason}")
    chosen = _uniform(prices, able, num_params) or (_greedy(prices, able, num_params, prefer) if may_drop else {})
    if not chosen:
        return None
    uniform = max(chosen.values())
    _raise(prices, chosen, able, num_params, prefer)
    kept = tuple(site for site in able if site.key in chosen)
    return Filling(
        sites=kept,
        options=_spell(options, size, uniform, chosen),
        num_params=sum(prices.of(site, chosen[site.key]) or 0 for site in kept),
    )


@final
class _Prices:
    """What each size costs at a site, and which sizes the kind refuses there; sites of one shape are asked once."""

    def __init__(self, kind: str, options: Mapping[str, Any], size: str) -> None:
        discovery.find("grafts", kind, Kind)  # an unknown kind is refused as such
        self._kind, self._size = kind, size
        self._named = set(options.get("at", {}))
        self._spelled = records.to_canonical(options)

    def of(self, site: Site, size: int) -> int | None:
        """Parameters, or None for a size that cannot be there."""
        alike = site if site.key in self._named else replace(site, module="", depth=0)
        price = _price(self._kind, self._spelled, self._size, size, alike)
        return None if isinstance(price, str) else price

    def largest(self, site: Site, limit: int) -> int:
        """The largest size up to `limit` that can be there; 0 for none."""
        limit = limit if self._size else min(limit, 1)
        return next((size for size in range(limit, 0, -1) if self.of(site, size) is not None), 0)

    def smallest(self, site: Site) -> int:
        """The smallest size that can be there; 0 for none. A kind without a size has the size 1."""
        return self.next(site, 0, _MANY_SIZES if self._size else 1)

    def next(self, site: Site, size: int, step: int = _FARTHEST_STEP) -> int:
        """The next larger size that can be there; 0 for none within `step`."""
        if not self._size and size:
            return 0
        larger = range(size + 1, size + step + 1)
        return next((one for one in larger if self.of(site, one) is not None), 0)

    def refusal(self, site: Site) -> str:
        """Why the smallest size cannot be there."""
        return str(_price(self._kind, self._spelled, self._size, 1, site))


@lru_cache(maxsize=1 << 16)
def _price(kind: str, options: str, size: str, number: int, site: Site) -> int | str:
    """The parameters of a kind at a site, or why it refuses to be there.

    Args:
        options: In canonical JSON, so that equal questions are asked once.
        size: The name of the option that is `number`; "" for none.
    """
    chosen: dict[str, Any] = json.loads(options)
    try:
        found, at_site = kind_and_options(kind, {**chosen, size: number} if size else chosen, site)
        if site.sort != found.attaches_to:
            return f"{kind} attaches to {found.attaches_to} sites; {site.key} is a {site.sort} site"
        with torch.device("meta"):  # which has shapes only, so that asking costs nothing
            found(site, at_site)
        return int(found.num_params(site, at_site))
    except (ConfigError, SiteError) as error:
        return str(error)


def _uniform(prices: _Prices, sites: Sequence[Site], num_params: int) -> dict[str, int]:
    """Site key -> size, with one size for all as far as they take it; empty when no size fits at all of them."""

    def sizes(limit: int) -> dict[str, int]:
        return {site.key: prices.largest(site, limit) for site in sites}

    def fits(limit: int) -> bool:
        found = sizes(limit)
        return all(found.values()) and sum(prices.of(site, found[site.key]) or 0 for site in sites) <= num_params

    low = max(prices.smallest(site) for site in sites)
    if not fits(low):
        return {}
    high = 2 * low
    while fits(high) and (sizes(high) != sizes(low) or high <= _MANY_SIZES):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return sizes(low)


def _greedy(prices: _Prices, sites: Sequence[Site], num_params: int, prefer: Preference) -> dict[str, int]:
    """Site key -> the smallest size, at the preferred sites, until nothing more fits."""
    offers = [(site, prices.smallest(site)) for site in sites]
    priced = [(site, size, prices.of(site, size) or 0) for site, size in offers]
    chosen, left = {}, num_params
    for site, size, price in sorted(priced, key=lambda offer: -prefer(offer[0], offer[2])):
        if price <= left:
            chosen[site.key] = size
            left -= price
    _fill_better(chosen, priced, num_params, prefer)
    return chosen


def _fill_better(
    chosen: dict[str, int], priced: Sequence[tuple[Site, int, int]], num_params: int, prefer: Preference
) -> None:
    """Take in a site, or exchange one for another, such that the fill grows most, until the budget is nearly full.

    Args:
        priced: Sites with their smallest size and its price.
    """
    wanted = {site.key: prefer(site, price) for site, _, price in priced}
    while True:
        inside = [offer for offer in priced if offer[0].key in chosen]
        outside = [offer for offer in priced if offer[0].key not in chosen]
        left = num_params - sum(price for _, _, price in inside)
        if left <= (1 - _FULL_ENOUGH) * num_params:
            return
        moves = [
            (
                price - (leaving[2] if leaving else 0),
                wanted[site.key],
                -wanted[leaving[0].key] if leaving else 0.0,
                n,
                leaving,
            )
            for n, (site, _, price) in enumerate(outside)
            for leaving in (None, *inside)
        ]
        fitting = [move for move in moves if 0 < move[0] <= left]
        if not fitting:
            return
        *_, coming, leaving = max(fitting, key=lambda move: move[:3])
        chosen[outside[coming][0].key] = outside[coming][1]
        if leaving:
            del chosen[leaving[0].key]


def _raise(prices: _Prices, chosen: dict[str, int], sites: Sequence[Site], num_params: int, prefer: Preference) -> None:
    """Let each chosen site grow by one step, the preferred ones first, while it fits."""
    left = num_params - sum(prices.of(site, chosen[site.key]) or 0 for site in sites if site.key in chosen)
    offers = []
    for site in sites:
        if site.key in chosen and (larger := prices.next(site, chosen[site.key])):
            extra = (prices.of(site, larger) or 0) - (prices.of(site, chosen[site.key]) or 0)
            offers.append((site, larger, extra))
    for site, larger, extra in sorted(offers, key=lambda offer: -prefer(offer[0], max(offer[2], 1))):
        if extra <= left:
            chosen[site.key] = larger
            left -= extra


def _spell(options: Mapping[str, Any], size: str, uniform: int, chosen: Mapping[str, int]) -> dict[str, Any]:
    if not size:
        return dict(options)
    elsewhere = {key: dict(table) for key, table in options.get("at", {}).items()}
    for key, one in chosen.items():
        if one != uniform:
            elsewhere[key] = {**elsewhere.get(key, {}), size: one}
    plain = {key: value for key, value in options.items() if key != "at"}
    return {**plain, size: uniform, **({"at": elsewhere} if elsewhere else {})}
