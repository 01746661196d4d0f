from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint.errors import ConfigError, SiteError
from saint.grafts import check_at
from saint.records import Site, Stream

_REGIONS = 3
_BY_REGION = ("region", "role_region")
_ROLES = ("q", "k", "v", "qkv", "o", "cross_q", "cross_k", "cross_v", "cross_kv", "cross_o", "gate", "up", "gate_up")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A sort of candidate that growth may try.

    A candidate is at whole sites. What is finer than a site is a matter of its kind: single entries (`sparse`), blocks
    of a weight (`dictionary`), or some of its coordinates (`phi` with the basis `coordinate`).
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the kind may choose; under `at`, role or site key -> what is chosen otherwise there."""
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    streams: tuple[Stream, ...] = ()
    """Only sites of the encoder, or of the decoder (cross-attention included); empty for both."""
    bundle: Literal["site", "role", "depth", "region", "role_region", "all"] = "role"
    """One candidate per site, per role over all depths, per depth over all roles, per range of depths over all roles,
    per role and range of depths, or all sites in one."""
    regions: int = _REGIONS
    """Into how many ranges of equally many blocks `region` and `role_region` cut each stream; what is outside the
    blocks is a range of its own."""
    union: bool = False
    """Whether all the bundles together are one more candidate."""
    lr: float | None = None
    """Peak learning rate of its training; by default that of the kind (`saint.grafts.default_lr`)."""

    def __post_init__(self) -> None:
        """Refuse a rate that cannot teach, and settings without effect."""
        if self.lr is not None and self.lr <= 0:
            raise ConfigError(f"lr is {self.lr}; it must be positive")
        if self.regions < 1:
            raise ConfigError(f"regions is {self.regions}; it must be at least 1")
        if self.regions != _REGIONS and self.bundle not in _BY_REGION:
            raise ConfigError(
                f"regions is {self.regions}, which has no effect on the bundle {self.bundle!r}; leave it out, or take "
                f"{' or '.join(_BY_REGION)}"
            )
        if self.union and self.bundle == "all":
            raise ConfigError("union has no effect on the bundle 'all', which is all sites already; leave it out")


@final
@dataclass(frozen=True, slots=True)
class Bundle:
    """The sites of one candidate."""

    sites: tuple[Site, ...]
    """In an order that does not depend on the order in which they were given."""
    group: str
    """Bundles of one group compare: they are at the same roles, and are all a union or none is."""


def bundles(
    sites: Sequence[Site], proposal: Proposal, kind: Any, within: Collection[Site] | None = None
) -> list[Bundle]:
    """Where a proposal would have its candidates, always in the same order.

    Args:
        sites: All sites of the base, which say where its ranges of depth are.
        kind: The proposal's kind.
        within: The only sites that may be taken; None for all.

    Raises:
        SiteError: The proposal names a role, a stream or a place that no site has.
    """
    group_of, groups = _grouping(proposal, sites), defaultdict[str, list[Site]](list)
    for site in sorted(_fitting(sites, proposal, kind), key=_place_in_model):
        if (within is None or site in within) and (not proposal.roles or site.role in proposal.roles):
            groups[group_of(site)].append(site)
    found = [Bundle(tuple(group), _roles(group)) for group in groups.values()]
    if proposal.union and len(found) > 1:
        together = sorted((site for bundle in found for site in bundle.sites), key=_place_in_model)
        found.append(Bundle(tuple(together), f"union of {_roles(together)}"))
    return found


def _grouping(proposal: Proposal, sites: Iterable[Site]) -> Callable[[Site], str]:
    """What the sites of one bundle have in common."""
    num_blocks: dict[str, int] = defaultdict(int)
    for site in sites:
        num_blocks[site.stream] = max(num_blocks[site.stream], site.depth + 1)

    def region(site: Site) -> int:
        return -1 if site.depth < 0 else site.depth * proposal.regions // num_blocks[site.stream]

    return {
        "site": lambda site: site.key,
        "role": lambda site: f"{site.stream}:{site.role}",
        "depth": lambda site: f"{site.stream}:{site.depth}",
        "region": lambda site: f"{site.stream}:{region(site)}",
        "role_region": lambda site: f"{site.stream}:{site.role}:{region(site)}",
        "all": lambda _: "",
    }[proposal.bundle]


def _roles(sites: Iterable[Site]) -> str:
    return ", ".join(sorted({f"{site.stream} {site.role}" for site in sites}))


def _place_in_model(site: Site) -> tuple[bool, bool, int, int, str]:
    """In the usual order of a model: encoder first, block by block, attention first, and the head at the end."""
    role = _ROLES.index(site.role) if site.role in _ROLES else len(_ROLES)
    return site.stream == "decoder", site.depth < 0, site.depth, role, site.key


def _fitting(sites: Sequence[Site], proposal: Proposal, kind: Any) -> list[Site]:
    """The base's sites of the kind's sort, once it is sure that what the proposal names is among them."""
    there = f"{kind.attaches_to} site"
    fitting = [site for site in sites if site.sort == kind.attaches_to]
    if not fitting:
        raise SiteError(f"the base has no {there}, where {proposal.kind} would attach; leave that proposal out")
    if absent := set(proposal.streams) - {site.stream for site in fitting}:
        raise SiteError(
            f"no {there} is in the {min(absent)}, which a proposal of kind {proposal.kind} names in streams; "
            "leave that stream out"
        )
    if proposal.streams:
        fitting = [site for site in fitting if site.stream in proposal.streams]
        there = f"{there} of the {' or '.join(proposal.streams)}"
    if unknown := set(proposal.roles) - {site.role for site in fitting}:
        known = ", ".join(sorted({site.role for site in fitting}))
        raise SiteError(
            f"no {there} has the role {min(unknown)!r}, which a proposal of kind {proposal.kind} names; "
            f"the roles are {known}"
        )
    check_at(proposal.kind, proposal.options, fitting)
    return fitting
