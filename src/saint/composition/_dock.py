"""A graft that was trained on one base, moved to another that reads tokens through the same frozen table."""

from typing import Any

from saint.composition._places import check_sites
from saint.errors import SiteError
from saint.grafts import Graft, grow_from
from saint.models import FrozenBase


def dock(graft: Graft, base: FrozenBase, onto: FrozenBase) -> Graft:
    """A copy of `graft`, which stands on `base`, for `onto`; its weights and its strength are the same to the bit.

    Both bases have the same frozen token interface and the same sites, so that the graft computes there. That is all
    that is checked: whether it is of any use there has to be measured, for bases that were trained apart need not have
    anything in common above their token interface (`saint study docking`).

    Raises:
        SiteError: The token interfaces are not known to be the same, or `onto` lacks a site of the graft.
    """
    theirs, ours = interface_of(base), interface_of(onto)
    if theirs is None or ours is None:
        whose = "the base that the graft stands on" if theirs is None else "the base that it is moved to"
        raise SiteError(
            f"{whose} has no frozen token interface, so the two cannot be known to be the same; expected bases whose "
            "configuration has an interface_digest, as those of architecture saint_layered on a frozen table have"
        )
    if theirs != ours:
        raise SiteError(
            f"the base that the graft is moved to has the frozen token interface {ours[:12]}, expected {theirs[:12]}, "
            "which the one that it stands on has; move it to a base of that interface, or train one on this base"
        )
    check_sites(onto, graft.candidate.sites)
    return grow_from(graft.candidate, weights=graft.to_bytes()).requires_grad_(requires_grad=False).eval()


def interface_of(base: FrozenBase) -> str | None:
    """The digest of a base's frozen token interface; None where tokens come in through anything else."""
    config: Any = base.model.config
    found: str | None = getattr(config, "interface_digest", None)
    return found
