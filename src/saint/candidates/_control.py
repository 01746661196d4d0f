from collections.abc import Iterable

from saint.errors import SiteError
from saint.records import Candidate, Site


def lora_control(sites: Iterable[Site], num_params_wanted: int, *, lr: float, seed: int = 0) -> Candidate:
    """LoRA at every linear site, of the smallest rank that trains at least `num_params_wanted` parameters.

    A control gets no fewer parameters than what it is held against, and at most one rank's worth more; only where that
    rank would exceed the smallest site, it stays at what the smallest site takes.

    Raises:
        SiteError: There is no linear site.
    """
    linear = tuple(site for site in sites if site.sort == "linear")
    if not linear:
        raise SiteError("the base has no linear site, so there is no LoRA to hold its grafts against")
    highest = min(min(site.d_in, site.d_out) for site in linear)
    per_rank = sum(site.d_in + site.d_out for site in linear)
    rank = min(max(1, -(-num_params_wanted // per_rank)), highest)
    return Candidate(sites=linear, kind="lora", options={"rank": rank}, lr=lr, seed=seed)
