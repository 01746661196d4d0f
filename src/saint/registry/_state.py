"""The present, as the ledger's events add up to it."""

import copy
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, final

from saint import records
from saint.records import Candidate, Decision, Evidence, Query
from saint.registry._ledger import Event
from saint.registry._spent import Spent, spent_in

Status = Literal["stands", "rolled back", "deferred", "rejected", "waits for approval"]
_SEALED = ("held_out", "retain", "safety")


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One judgement of one graft, and what became of it."""

    digest: str
    candidate: Candidate
    evidence: Evidence
    decision: Decision
    number: int
    """The ledger's entry that records the judgement."""
    time: str
    round: int | None
    status: Status
    rollback_reason: str = ""
    unvalidated: bool = False
    """It stands, but not on the stack that it was judged on: something below it was rolled back since."""
    validated_on: tuple[str, ...] | None = None
    """What stood below it when it was judged again, if it was and passed."""


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """One query to sealed text, and what became of it."""

    query: Query
    number: int
    """The ledger's entry that has the query."""
    passed: bool | None = None
    """The bit that came back; None for a query whose answer nobody wrote down, which counts all the same."""


@final
@dataclass
class State:
    """What stands, what was tried, and where growth has come to."""

    created: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    """Digest of the base that all evidence is about; "" until there is some."""
    judged: list[Entry] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    """Digests of the grafts that stand, oldest first."""
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Round -> the event that opened it, with `closed`, `abandoned` and, once it ended, what the `arms` gained."""
    skipped: dict[int, str] = field(default_factory=dict)
    """Stage of the plan -> why what was left of it was not grown."""
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of the candidate and the stack it was trained on -> the event, with the graft's digest."""
    submitted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of a graft that was trained elsewhere -> the event that says where it came from."""
    controls: list[dict[str, Any]] = field(default_factory=list)
    controls_left_out: list[dict[str, Any]] = field(default_factory=list)
    """The events that say for which stack there are no controls, and why."""
    measured: list[dict[str, Any]] = field(default_factory=list)
    """What was measured on the vault, each time that it was opened."""
    num_vault_openings: int = 0
    sets: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """(round, `joint` or `overgrow`) -> the event that says what is made of trained grafts there, or why nothing is."""
    pruned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Digest of a trial -> the event that says what each site of its graft was worth, and which were kept."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """What was measured of the bare base, and of the stack at the end of each round, beside what growth had spent."""
    policy: dict[str, Any] = field(default_factory=dict)
    """The event that says by what decisions are made now."""
    queries: dict[str, list[Asked]] = field(default_factory=dict)
    """Digest of a hold-out -> what it was asked, oldest first."""
    num_passed: dict[str, int] = field(default_factory=dict)
    """Digest of a hold-out -> how many of its queries were answered yes, those included whose answer nobody wrote
    down: it may have got out."""
    retired: dict[str, str] = field(default_factory=dict)
    """Digest of a hold-out -> why it is not to be asked any more."""
    approved: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Entry of a judgement -> the events of people who approve of it."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Digest of a graft -> why it must not stand again."""
    to_retrain: list[dict[str, Any]] = field(default_factory=list)
    """Candidates that are to be grown again, oldest first, as long as no round has taken them up."""
    compositions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name -> the grafts of the composition that has it now, its digest, the reason, and the entry that says so."""
    others: list[Event] = field(default_factory=list)
    _own: set[Hashable] = field(default_factory=set, init=False, repr=False, compare=False)
    """Members, and lists under a key of a member, that no snapshot has."""

    def snapshot(self) -> Self:
        """The state as it is now, to be kept; shares all that does not change later."""
        self._own = set()
        taken = copy.copy(self)
        taken._own = set()
        return taken

    def assign(self, members: Mapping[str, Any]) -> None:
        """Put new values in the place of members."""
        for member, value in members.items():
            setattr(self, member, value)
            self._own.discard(member)

    def own(self, member: str) -> Any:
        """A list or dictionary of this state, to be changed: a copy of it, if a snapshot has it too."""
        if member not in self._own:
            setattr(self, member, copy.copy(getattr(self, member)))
            self._own.add(member)
        return getattr(self, member)

    def own_list(self, member: str, key: Hashable) -> Any:
        """The list under `key` of a member, to be changed; it begins empty."""
        members = self.own(member)
        if (member, key) not in self._own:
            members[key] = list(members.get(key, ()))
            self._own.add((member, key))
        return members[key]

    @property
    def holdout(self) -> str:
        """Digest of the registry's sealed text, from its first entry; "" for a registry that was made without text."""
        return holdout_digest(self.created.get("data", {}), self.created.get("suites", {}))

    @property
    def sealed_text(self) -> dict[str, dict[str, Any]]:
        """Domain -> what the first entry says of its sealed text; empty for a registry that was made without text."""
        data = self.created.get("data", {})
        return {name.partition("/")[0]: one for name, one in data.items() if name.partition("/")[2] in _SEALED}

    @property
    def sealed_items(self) -> dict[str, dict[str, Any]]:
        """Safety suite -> what the first entry says of its sealed items."""
        suites = self.created.get("suites", {})
        return {name.removesuffix("/gate"): one for name, one in suites.items() if name.endswith("/gate")}

    @property
    def sealed_sizes(self) -> dict[str, int]:
        """Suite -> its sealed documents or items, all of them."""
        items = {suite: int(one["num_items"]) for suite, one in self.sealed_items.items()}
        return items | {suite: int(one["num_documents"]) for suite, one in self.sealed_text.items()}

    @property
    def grown_domain(self) -> str:
        """The domain that is grown towards: only it has a held_out split; "" without text."""
        data = self.created.get("data", {})
        return next((name.partition("/")[0] for name in data if name.endswith("/held_out")), "")

    @property
    def spent(self) -> Spent:
        """What all trials so far took, and the short ones that candidates were chosen by."""
        return spent_in([*self.trained.values(), *(one.get("rerank", {}) for one in self.rounds.values())])


def holdout_digest(data: Mapping[str, Mapping[str, Any]], suites: Mapping[str, Mapping[str, Any]]) -> str:
    """What a hold-out is known by: the digests of all sealed text; "" where there is none.

    Args:
        data: domain/split -> its description, as a registry's first entry has it.
        suites: suite/part -> the same.
    """
    text = {name.partition("/")[0]: one["digest"] for name, one in data.items() if name.partition("/")[2] in _SEALED}
    items = {name.partition("/")[0]: one["digest"] for name, one in suites.items() if name.endswith("/gate")}
    return records.digest({"text": text, "suites": items}) if text else ""
