"""What newborn and composed grafts see of the base."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saint.composition._probe import probe_logits
from saint.errors import ConfigError, SiteError
from saint.grafts import (
    Call,
    Graft,
    Kind,
    LowRankFactors,
    Place,
    Signals,
    check_at,
    grow_from,
    kind_and_options,
)
from saint.models import FrozenBase, Linear, float_weight, share_weights
from saint.records import Candidate, Site

_WRITES_TO_THE_STREAM = ("o", "cross_o", "down")


def place_of(
    base: FrozenBase,
    site: Site,
    *,
    layer_index: int = 0,
    signals: Signals | None = None,
    read_spanned: Callable[[], LowRankFactors | None] | None = None,
) -> Place:
    """What is at `site` of the base.

    Raises:
        SiteError: The base has no such module, or it is no linear map where one is wanted.
    """
    module = _module_at(base, site)

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
        read_spanned=read_spanned,
    )


def check_sites(base: FrozenBase, wanted: Iterable[Site]) -> None:
    """See to it that the base has every one of these sites, just as it is described.

    Raises:
        SiteError: There is no such module, or none that grafts attach to, or it is of other sizes.
    """
    there = {site.key: site for site in base.sites()}
    for site in wanted:
        _module_at(base, site)
        if there.get(site.key) != site:
            found = there.get(site.key, "no such site")
            raise SiteError(
                f"expected a site of the base, got {site}, where the base has {found}; take one of `base.sites()`"
            )


def _module_at(base: FrozenBase, site: Site) -> nn.Module:
    try:
        module = base.model.get_submodule(site.module)
    except AttributeError:
        raise SiteError(f"the base has no module {site.module}; its sites are listed by `base.sites()`") from None
    if site.sort == "linear" and not isinstance(module, Linear):
        raise SiteError(
            f"{site.module} is of type {type(module).__name__}, and grafts attach to linear maps, not to embeddings or "
            "convolutions; the sites are listed by `base.sites()`"
        )
    return module


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
                taken[_blocks(site)] += graft.parts[site.key].num_layers
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
    check_sites(base, candidate.sites)
    check_at(candidate.kind, candidate.options, base.sites())
    places = {}
    for site in candidate.sites:
        kind, options = kind_and_options(candidate.kind, candidate.options, site)
        here = (signals or {}).get(site.key)
        if missing := [m for m in sorted(kind.wants(options)) if here is None or getattr(here, m) is None]:
            raise ConfigError(
                f"a {candidate.kind} graft with these options is born from the signals {', '.join(missing)} at "
                f"{site.key}; measure them with saint.composition.measure_signals, as saint.train does"
            )
        places[site.key] = place_of(base, site, signals=here, read_spanned=partial(changed_by, base, stack, site))
    return grow_from(candidate, places=places)


@torch.no_grad()
def spanned(stack: Sequence[Graft], site: Site) -> LowRankFactors | None:
    """What the grafts of `stack` change at a weight, side by side, as far as it is of low rank."""
    there = [graft.parts[site.key].factors() for graft in stack if site in graft.candidate.sites]
    return _beside([factors for factors in there if factors is not None])


@torch.no_grad()
def changed_by(base: FrozenBase, stack: Sequence[Graft], site: Site) -> LowRankFactors | None:
    """All that the grafts of `stack` change at a weight, side by side; None if that is nothing.

    What has no factors but folds is taken by the singular vectors of the change that it makes to the weight as the
    grafts below have left it. Changes of the bias do not count, nor do blocks, layers and channels, which change
    activations rather than this weight.
    """
    there = [graft.parts[site.key] for graft in stack if site in graft.candidate.sites]
    if all(part.factors() is not None for part in there):
        return spanned(stack, site)  # no weight has to be read
    place = place_of(base, site)
    weight, known = place.weight, []
    if weight is None:
        return None
    weight = weight.float()
    for part in (part for part in there if part.can_fold):
        part.to(device=weight.device).attach(place)
        factors, weight = _change(part, weight)
        known.append(factors)
    return _beside(known)


def _change(part: Kind, weight: Float[Tensor, "d_out d_in"]) -> tuple[LowRankFactors, Float[Tensor, "d_out d_in"]]:
    """What `part` changes of `weight`, and the weight that comes of it."""
    folded = part.fold(weight, None)
    assert folded is not None  # it can be folded
    if (factors := part.factors()) is None:
        u, values, v = torch.linalg.svd(folded[0] - weight, full_matrices=False)
        kept = (
            values > torch.finfo(weight.dtype).eps * folded[0].norm()
        )  # no more than that is the subtraction's rounding
        factors = LowRankFactors(up=u[:, kept] * values[kept], down=v[kept])
    return factors, folded[0]


def _beside(known: Sequence[LowRankFactors]) -> LowRankFactors | None:
    """Changes of one weight as one."""
    if not known:
        return None
    return LowRankFactors(up=torch.cat([f.up for f in known], dim=1), down=torch.cat([f.down for f in known], dim=0))


def _blocks(site: Site) -> str:
    """The module list that a block is in."""
    return site.module.rpartition(".")[0]
