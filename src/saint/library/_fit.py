"""Whether a published graft can be judged in a registry, as far as that can be said without fetching it."""

from dataclasses import dataclass
from typing import final

from saint import config
from saint.errors import BaseChangedError, LedgerError, LibraryError, NotARegistryError
from saint.library._certificate import Certificate
from saint.library._listed import Listed
from saint.records import BaseIdentity
from saint.registry import Registry

_PARTS = {
    "quantization": "its quantisation differs",
    "config": "its configuration differs",
    "weights": "its weights differ",
    "tokenizer": "its tokenizer differs",
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How a graft goes with a registry."""

    differs: str
    """What about the base; "" for the same one."""
    missing: tuple[str, ...]
    """Grafts that it was measured on and that do not stand there, oldest first."""
    status: str
    """What became of it there, if it was judged there; else ""."""


def fit_of(certificate: Certificate, registry: Registry) -> Fit:
    """How a graft goes with a registry's base and stack.

    Raises:
        NotARegistryError: The registry does not know its base.
    """
    state = registry.state
    recorded = state.created.get("base", {}).get("identity")
    if not recorded:
        raise NotARegistryError(f"{registry.folder} was made without `saint init`, so it does not know its base")
    here, there = config.build(recorded, BaseIdentity, where="the ledger"), certificate.base.identity
    differing = [said for part, said in _PARTS.items() if getattr(here, part) != getattr(there, part)]
    judged = [entry.status for entry in state.judged if entry.digest == certificate.graft]
    return Fit(
        differs=", ".join(differing),
        missing=tuple(one for one in certificate.evidence.stack if one not in state.standing),
        status=judged[-1] if judged else "",
    )


def must_fit(listed: Listed, registry: Registry, *, on_local_stack: bool = False) -> None:
    """Refuse a graft that cannot be judged in a registry.

    Args:
        on_local_stack: Judge it there on what stands, though it was measured on others.

    Raises:
        BaseChangedError: It is for another base.
        LedgerError: It is in quarantine there.
        LibraryError: Grafts that it was measured on do not stand there.
    """
    certificate = listed.certificate
    fit, name = fit_of(certificate, registry), certificate.graft[:12]
    if fit.differs:
        raise BaseChangedError(
            f"graft {name} is for base {certificate.base.digest[:12]} ({certificate.base.name}), and {registry.folder} "
            f"is about another one: {fit.differs}; install it in a registry of that base"
        )
    if reason := registry.state.quarantined.get(certificate.graft):
        raise LedgerError(f"graft {name} is in quarantine in {registry.folder} ({reason}); install another")
    if fit.missing and not on_local_stack:
        first = fit.missing[0]
        raise LibraryError(
            f"graft {name} was measured on {', '.join(one[:12] for one in fit.missing)}, not standing in "
            f"{registry.folder}; install those first (`saint library install {listed.address} {first[:12]} "
            f"{registry.folder}`), or have it judged on what stands there with --on-local-stack"
        )
