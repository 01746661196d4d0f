"""What the ledger holds that exports speak of, gathered once, and what it does not hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from saint.errors import ExportError
from saint.records import composition_digest
from saint.registry import Entry, Event, Registry, State


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """One registry as its ledger has it."""

    state: State
    events: list[Event]
    standing: tuple[Entry, ...]
    """The grafts that stand, oldest first."""
    gone: tuple[Entry, ...]
    """Grafts that stood and were rolled back, oldest first; none that stands again."""

    @property
    def head(self) -> str:
        """Digest of the last entry."""
        return self.events[-1].digest

    @property
    def composition(self) -> str:
        """Digest of base and stack."""
        return composition_digest(self.state.base, self.state.standing)

    @property
    def base(self) -> Mapping[str, Any]:
        """What the first entry says of the base."""
        found: Mapping[str, Any] = self.state.created.get("base", {})
        return found

    @property
    def hub_name(self) -> str | None:
        """By what name others find the base; None for a folder or a model in memory."""
        return None if self.base.get("local", True) else self.base.get("source") or None

    @property
    def name(self) -> str:
        """What the plan calls itself, else the beginning of the composition's digest."""
        return str(self.state.created.get("plan", {}).get("name") or self.composition[:12])

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """domain/split -> what the ledger says of its text."""
        found: Mapping[str, Mapping[str, Any]] = self.state.created.get("data", {})
        return found

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What the vault said of the stack that stands; None when it was not asked about this one."""
        of_this = [one for one in self.state.measured if one["stack"] == self.state.standing]
        return of_this[-1] if of_this else None


def gather(registry: Registry) -> Facts:
    """Read the ledger once.

    Raises:
        ExportError: There is no base in it, so there is nothing to speak of.
        LedgerError: It does not verify.
    """
    state, events = registry.state, registry.ledger.events()
    if not state.base:
        raise ExportError(f"{registry.folder} does not know a base yet, so there is nothing to export; grow it first")
    latest = {entry.digest: entry for entry in state.judged}
    standing = {entry.digest: entry for entry in state.judged if entry.status == "stands"}
    gone = tuple(entry for entry in latest.values() if entry.status == "rolled back" and entry.digest not in standing)
    return Facts(state=state, events=events, standing=tuple(standing[digest] for digest in state.standing), gone=gone)


def not_recorded(facts: Facts) -> tuple[str, ...]:
    """The facts that readers of such documents look for first and that this ledger does not hold."""
    created, text = facts.state.created, facts.data
    without = sorted({name.partition("/")[0] for name, one in text.items() if not one.get("license")})
    missing = {
        "the licence of the base": True,
        "the licence of the grafts": True,
        "what the base was trained on, and with how many operations": True,
        "a name of the base that others find it by": facts.hub_name is None,
        "any text": not text,
        f"the licence of the text of {', '.join(without)}": bool(without),
        "a digest of the code": "code" not in created,
        "a digest of the installed packages": "packages" not in created,
        "the accelerator": "device" not in created.get("machine", {}),
        "a result on the vault of what stands": facts.result is None,
    }
    return tuple(name for name, is_missing in missing.items() if is_missing)
