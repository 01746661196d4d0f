from collections.abc import Iterable, Sequence
from random import Random

from saint.errors import SiteError
from saint.records import Candidate, Site


def lora_control(sites: Iterable[Site], num_params_wanted: int, *, lr: float, seed: int = 0) -> Candidate:
    """LoRA at every linear site, of the smallest rank that trains at least `num_params_wanted` parameters.

    A control gets no fewer parameters than what it is held against, and at most one rank's worth more; only where that
    rank would exceed the smallest site, it stays at what the smallest site takes.

    Raises:
        SiteError: There is no linear site.
    """
    linear = _linear(sites)
    rank = min(_rank(linear, num_params_wanted), _highest(linear))
    return Candidate(sites=linear, kind="lora", options={"rank": rank}, lr=lr, seed=seed)


def random_control(
    sites: Iterable[Site], num_params_wanted: int, *, num_sites: int, lr: float, seed: int = 0
) -> Candidate:
    """The same at as many linear sites as are given, drawn by chance; at more where these cannot hold the parameters.

    What a stack gains more is not only worth its parameters and tokens, but also where they are.

    Raises:
        SiteError: There is no linear site.
    """
    linear = _linear(sites)
    drawn = list(linear)
    Random(seed).shuffle(drawn)  # noqa: S311 - it is to be repeated
    num = max(1, min(num_sites, len(drawn)))
    while num < len(drawn) and _rank(drawn[:num], num_params_wanted) > _highest(drawn[:num]):
        num += 1
    chosen = [site for site in linear if site in drawn[:num]]
    return lora_control(chosen, num_params_wanted, lr=lr, seed=seed)


def _linear(sites: Iterable[Site]) -> tuple[Site, ...]:
    if linear := tuple(site for site in sites if site.sort == "linear"):
        return linear
    raise SiteError("the base has no linear site, so there is no LoRA to hold its grafts against")


def _rank(sites: Sequence[Site], num_params: int) -> int:
    """The smallest that trains at least so many parameters."""
    return max(1, -(-num_params // sum(site.d_in + site.d_out for site in sites)))


def _highest(sites: Sequence[Site]) -> int:
    return min(min(site.d_in, site.d_out) for site in sites)
