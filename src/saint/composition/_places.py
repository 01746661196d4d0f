"""What newborn and composed grafts see of the base."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saint.composition._probe import probe_logits
from saint.errors import ConfigError, SiteError
from saint.grafts import Call, Graft, LowRankFactors, Place, Signals, grow_from, kind_and_options
from saint.models import FrozenBase, Linear, float_weight, share_weights
from saint.records import Candidate, Site

_WRITES_TO_THE_STREAM = ("o", "cross_o", "down")


def place_of(
    base: FrozenBase,
    site: Site,
    *,
    layer_index: int = 0,
    signals: Signals | None = None,
    spanned: LowRankFactors | None = None,
) -> Place:
    """What is at `site` of the base.

    Raises:
        SiteError: The base has no such module, or it is no linear map where one is wanted.
    """
    try:
        module = base.model.get_submodule(site.module)
    except AttributeError:
        raise SiteError(f"the base has no module {site.module}; its sites are listed by `base.sites()`") from None

    if site.sort == "linear" and not isinstance(module, Linear):
        raise SiteError(
            f"{site.module} is of type {type(module).__name__}, and grafts attach to linear maps, not to embeddings or "
            "convolutions; the sites are listed by `base.sites()`"
        )

    def read_weight() -> Tensor | None:
        return float_weight(module) if site.sort == "linear" else None

    inside = f"{site.module}."
    outputs = [
        other.module.removeprefix(inside)
        for other in (base.sites() if site.sort == "insertion" else ())
        if other.sort == "linear" and other.role in _WRITES_TO_THE_STREAM and other.module.startswith(inside)
    ]
    return Place(
        module=module,
        read_weight=read_weight,
        outputs=tuple(outputs),
        layer_index=layer_index,
        read_call=lambda: _call(base, site),
        signals=signals,
        spanned=spanned,
    )


def _call(base: FrozenBase, site: Site) -> Call:
    """What the base calls the module of `site` with on the probe."""
    seen: list[Call] = []
    copy = share_weights(base.model)
    look = copy.get_submodule(site.module).register_forward_pre_hook
    look(lambda _module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    probe_logits(copy)
    return seen[0]


def slots(base: FrozenBase, stack: Sequence[Graft]) -> dict[tuple[int, str], int]:
    """(place of a graft in the stack, key of an insertion point) -> the slot of that new layer in a key-value cache.

    New layers come after the base's own, whose slots are thus what they were.
    """
    taken = Counter(_blocks(site) for site in base.sites() if site.sort == "insertion")
    found = {}
    for index, graft in enumerate(stack):
        for site in graft.candidate.sites:
            if site.sort == "insertion":
                found[index, site.key] = taken[_blocks(site)]
                taken[_blocks(site)] += 1
    return found


def newborn(
    base: FrozenBase,
    candidate: Candidate,
    *,
    stack: Sequence[Graft] = (),
    signals: Mapping[str, Signals] | None = None,
) -> Graft:
    """The graft that `candidate` describes, before any training: composed, it changes nothing, to the bit.

    Args:
        stack: The grafts that stand, from whose changes a newborn may be asked to keep clear.
        signals: Site key -> what flows through it, as `measure_signals` gives it; needed by kinds that want any.

    Raises:
        SiteError: The base has no such site, or the kind cannot be there.
        ConfigError: The kind is born from signals, and none were given.
    """
    places = {}
    for site in candidate.sites:
        kind, options = kind_and_options(candidate.kind, candidate.options, site)
        here = (signals or {}).get(site.key)
        if missing := [m for m in sorted(kind.wants(options)) if here is None or getattr(here, m) is None]:
            raise ConfigError(
                f"a {candidate.kind} graft with these options is born from the signals {', '.join(missing)} at "
                f"{site.key}; measure them with saint.composition.measure_signals, as saint.train does"
            )
        places[site.key] = place_of(base, site, signals=here, spanned=spanned(stack, site))
    return grow_from(candidate, places=places)


@torch.no_grad()
def spanned(stack: Sequence[Graft], site: Site) -> LowRankFactors | None:
    """What the grafts of `stack` change at a weight, side by side, as far as it is of low rank."""
    there = [graft.parts[site.key].factors() for graft in stack if site in graft.candidate.sites]
    known = [factors for factors in there if factors is not None]
    if not known:
        return None
    return LowRankFactors(up=torch.cat([f.up for f in known], dim=1), down=torch.cat([f.down for f in known], dim=0))


def _blocks(site: Site) -> str:
    """The module list that a block is in."""
    return site.module.rpartition(".")[0]
