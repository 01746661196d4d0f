import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from saint import records
from saint.errors import (
    BaseChangedError,
    Interrupted,
    LedgerError,
    NewerFormatError,
    NotARegistryError,
    SaintError,
    StaleEvidenceError,
    UnknownNameError,
)
from saint.records import Decision, Evidence, Scaled, composition_digest
from saint.registry._compositions import Composition, composition_named, named_in
from saint.registry._ledger import FORMAT, Event, Ledger
from saint.registry._present import Present
from saint.registry._reading import read_file
from saint.registry._remembered import Memory
from saint.registry._sealing import Seal
from saint.registry._state import Entry, State
from saint.registry._store import Store
from saint.registry._turns import held

_MARKER = "registry.json"
_MOST_MARKER_BYTES = 1 << 16


class Storable(Protocol):
    """Anything that can say what it is made of; a graft, without this room knowing PyTorch."""

    def to_bytes(self) -> bytes:
        """Equal things give equal bytes."""
        ...


class Registry:
    """Everything that was tried on one base, what was decided and why; only ever added to."""

    def __init__(self, store: Store, *, memory: Memory | None = None) -> None:
        """Put a registry together.

        Args:
            memory: Where this machine remembers what it verified; `$SAINT_HOME/seen` when left out.
        """
        self._present = Present()
        self.store = store
        self.ledger = Ledger(store, must_follow=self._present.must_precede)
        self.seal = Seal(store, self.ledger, memory or Memory())
        self.ledger.watch = self.seal

    @classmethod
    def open(cls, folder: str | Path, *, must_exist: bool = False) -> Self:
        """Open the registry in `folder`; make an empty one if the folder is missing or empty.

        Args:
            must_exist: Refuse to make one.

        Raises:
            NotARegistryError: The folder holds something else, or nothing when it must.
            NewerFormatError: A newer version wrote it.
            StorageError: A link stands where one of its folders should be.
        """
        folder = Path(folder)
        store = Store(folder)
        store.must_not_lead_elsewhere()
        marker = folder / _MARKER
        is_new = not marker.exists()
        if is_new:
            if must_exist or (folder.exists() and not store.is_bare()):
                raise NotARegistryError(
                    f"{folder} is not a registry (it has no {_MARKER}); make one with `saint init` in a new folder"
                )
            store.make()
            store.create(marker, records.to_canonical({"format": FORMAT, "hash": "sha256"}).encode())
        if (found := _format_of(marker)) > FORMAT:
            raise NewerFormatError(
                f"{folder} has registry format {found}, this version reads up to {FORMAT}; update saint-g"
            )
        registry = cls(store)
        if is_new:
            registry.seal.begin()
        return registry

    @classmethod
    def can_begin(cls, folder: Path) -> bool:
        """Whether `folder` is missing, empty, or a registry whose maker died before its first entry."""
        if not folder.exists() or Store(folder).is_bare():
            return True
        try:
            return not cls.open(folder, must_exist=True).ledger.events()
        except SaintError:
            return False

    @property
    def folder(self) -> Path:
        """Where the registry lies."""
        return self.store.folder

    @property
    def origin(self) -> str:
        """What this registry and its copies are called, and no other one: what is signed for it says so.

        A registry from before they had names is called by its first entry; "" while it has none.
        """
        return self.seal.origin()

    @property
    def work(self) -> Path:
        """A place for work in progress; nothing in it is part of the record."""
        return self.store.folder / "work"

    @contextmanager
    def alone(self, waiting: Callable[[], object] | None = None) -> Iterator[None]:
        """Hold the registry's work folder against other processes that would grow it; reading and writing stay free.

        Args:
            waiting: Asked again and again while another process holds it; may raise. Who waits comes next: who had it
                last and wants it back waits behind them. Without it nobody waits.

        Raises:
            BusyError: Another process holds it, and nobody is to wait.
        """
        with held(self.work, waiting):
            try:
                yield
            except Interrupted:
                self.seal.seal()
                raise
            self.seal.seal()

    @property
    def state(self) -> State:
        """What the ledger's events add up to now; it stays as it is when others come.

        Raises:
            LedgerError: The ledger on disk does not verify.
        """
        return self._present.after(self.ledger.past()).snapshot()

    def accepted(self) -> list[Entry]:
        """The grafts that stand, oldest first."""
        state = self.state
        standing = {entry.digest: entry for entry in state.judged if entry.status == "stands"}
        return [standing[digest] for digest in state.standing]

    def entry(self, digest: str) -> Entry:
        """The latest judgement of the graft whose digest starts with `digest`.

        Raises:
            UnknownNameError: There is none, or more than one graft.
        """
        found = {entry.digest: entry for entry in self.state.judged if entry.digest.startswith(digest)}
        if len(found) != 1 or not digest:
            known = ", ".join(entry.digest[:12] for entry in self.state.judged) or "none"
            problem = "several grafts" if found else "no graft"
            raise UnknownNameError(f"{problem} of this registry has the digest {digest!r}; there are {known}")
        return next(iter(found.values()))

    def payload(self, digest: str) -> bytes:
        """The bytes that were recorded under `digest`.

        Raises:
            LedgerError: They are missing, or no longer what they were.
        """
        return self.store.get(digest)

    def write(self, event: str, body: Mapping[str, Any], *, contents: Sequence[bytes] = ()) -> Event:
        """Record something that is not a judgement; `contents` are kept as blobs that the entry names."""
        return self.append(event, lambda _: body, blobs=[self.store.put(content) for content in contents])

    def append(self, event: str, body: Callable[[State], Mapping[str, Any]], *, blobs: Sequence[str] = ()) -> Event:
        """Record what `body` makes of the state, which it is given to look at, not to keep.

        Args:
            blobs: Digests of the contents that the event speaks of; they are in the store already.
            body: Raises when the state does not allow the event. Called again when another process was faster.

        Raises:
            LedgerError: The ledger on disk does not verify, or the event cannot follow; it was not written then.
            StorageError: The disk refused; nothing was half-written.
        """
        return self.ledger.append(event, lambda past: body(self._present.after(past)), blobs=blobs)

    def record(
        self, graft: Storable, evidence: Evidence, decision: Decision, *, round_number: int | None = None
    ) -> str:
        """Write down a judged graft, whatever the outcome; returns its digest.

        Raises:
            StaleEvidenceError: The evidence was measured on another stack than the one that stands now.
            BaseChangedError: It was measured on another base.
            LedgerError: The evidence is about another graft, this one stands already or is in quarantine, or the
                decision answers a query that is not its own.
        """
        if (digest := self.store.put(graft.to_bytes())) != evidence.graft:
            raise LedgerError(
                f"the evidence is about graft {evidence.graft[:12]}, not {digest[:12]}; evaluate it again"
            )

        def body(state: State) -> dict[str, Any]:
            if state.base and evidence.base != state.base:
                raise BaseChangedError(
                    f"this registry is about base {state.base[:12]}, the evidence about {evidence.base[:12]}; "
                    "use that base or another registry"
                )
            if evidence.stack != tuple(state.standing):
                raise StaleEvidenceError(
                    f"measured on a stack of {len(evidence.stack)} grafts, {len(state.standing)} others stand now; "
                    "evaluate it again on the present stack"
                )
            if digest in state.standing:
                raise LedgerError(f"graft {digest[:12]} stands already; roll it back before it is judged again")
            if digest in state.quarantined:
                raise LedgerError(f"graft {digest[:12]} is in quarantine ({state.quarantined[digest]}); grow another")
            _must_answer_its_own(state, evidence, decision)
            return {
                "graft": digest,
                "outcome": decision.outcome,
                "evidence": evidence,
                "decision": decision,
                "round": round_number,
            }

        self.append("judged", body, blobs=[digest, *filter(None, [decision.losses])])
        return digest

    def rejudge(self, evidence: Evidence, decision: Decision) -> None:
        """Write down what was found of a graft that stands, judged again on the others that stand.

        Raises:
            StaleEvidenceError: Something else stands now than the evidence is about.
            LedgerError: The decision answers a query that is not its own.
        """

        def body(state: State) -> dict[str, Any]:
            others = tuple(other for other in state.standing if other != evidence.graft)
            if evidence.graft not in state.standing or evidence.stack != others:
                raise StaleEvidenceError("other grafts stand now than this was measured on; judge it again")
            _must_answer_its_own(state, evidence, decision)
            return {"graft": evidence.graft, "outcome": decision.outcome, "evidence": evidence, "decision": decision}

        self.append("rejudged", body, blobs=list(filter(None, [decision.losses])))

    def approve(self, digest: str, *, by: str, reason: str) -> Entry:
        """Say that a person approves of a graft that passed and waits for that; returns its judgement as it is then.

        It may come to stand by that, so nobody may be growing on what stands meanwhile. A round that is open, of a run
        that was stopped, goes on if the graft is its own; one of another round is begun anew on the stack of then.

        Raises:
            BusyError: Another process grows this registry.
            UnknownNameError: There is no such graft.
            LedgerError: It does not wait for approval, the same person approved before, or other grafts stand by now.
        """
        entry = self.entry(digest)

        def body(state: State) -> dict[str, Any]:
            latest = next(one for one in reversed(state.judged) if one.digest == entry.digest)
            if latest.status != "waits for approval" or latest.digest in state.quarantined:
                raise LedgerError(
                    f"graft {entry.digest[:12]} does not wait for approval; its status is {latest.status}"
                )
            if latest.evidence.stack != tuple(state.standing):
                raise LedgerError(
                    f"graft {entry.digest[:12]} passed on a stack that does not stand any more; let it be judged again"
                )
            if any(one["by"] == by for one in state.approved.get(latest.number, [])):
                raise LedgerError(
                    f"{by} approved of {entry.digest[:12]} before; {latest.decision.approvals} people must"
                )
            return {"graft": entry.digest, "judgement": latest.number, "by": by, "reason": reason}

        with self.alone():
            self.append("approved", body)
        return self.entry(entry.digest)

    def rollback(self, digest: str, *, reason: str, waiting: Callable[[], object] | None = None) -> str:
        """Take an accepted graft out of the stack, wherever it is in it; nothing is deleted. Returns its full digest.

        Not while another process is at work on what stands: what that measures would be written down about a stack
        that is another one by then. Such a process can be stopped at any time.

        Args:
            waiting: As for `alone`.

        Raises:
            BusyError: Another process is at work on this registry, and nobody is to wait.
            UnknownNameError: No such graft stands.
        """
        with held(self.work, waiting):
            return self.take_out(digest, reason=reason)

    def take_out(self, digest: str, *, reason: str) -> str:
        """What `rollback` does, for whoever holds the registry already (`alone`)."""
        full = self.entry(digest).digest

        def body(state: State) -> dict[str, Any]:
            standing = state.standing
            if full not in standing:
                there = ", ".join(other[:12] for other in standing) or "none"
                raise UnknownNameError(
                    f"graft {full[:12]} does not stand, so it cannot be rolled back; standing: {there}"
                )
            return {"graft": full, "reason": reason, "stack": [other for other in standing if other != full]}

        self.append("rolled_back", body)
        return full

    def composition(self, name: str) -> Composition:
        """The composition that has a name; or the stack that a graft was judged with, by the start of its digest.

        `base` is no graft at all, `standing` those that stand.

        Raises:
            UnknownNameError: Nothing is called so.
        """
        return composition_named(self.state, name)

    def compose(self, name: str, grafts: Sequence[Scaled], *, reason: str) -> Composition:
        """Name a composition of grafts that stand; one that had the name gives it up, and stays in the ledger.

        Args:
            grafts: First graft first, by their full digests.

        Raises:
            ConfigError: The name cannot be one, there are no grafts, or one of them is there twice or does not stand.
        """

        def body(state: State) -> dict[str, Any]:
            digest = composition_digest(state.base, grafts)
            said = {"name": name, "grafts": records.to_plain(grafts), "composition": digest, "reason": reason}
            named_in(state, said, where="the composition")
            return said

        self.append("composed", body)
        return self.composition(name)

    def remove_composition(self, name: str, *, reason: str) -> None:
        """Take a name back; what it named stays in the ledger.

        Raises:
            UnknownNameError: No entry names a composition so.
        """

        def body(state: State) -> dict[str, Any]:
            if name not in state.compositions:
                named = ", ".join(state.compositions) or "none"
                raise UnknownNameError(f"no composition is named {name!r}, so it cannot be removed; named are {named}")
            return {"name": name, "composition": state.compositions[name]["composition"], "reason": reason}

        self.append("composition_removed", body)


def _must_answer_its_own(state: State, evidence: Evidence, decision: Decision) -> None:
    """Refuse a decision whose query was about something else, is in no entry, or was answered before."""
    query = decision.query
    if query is None:
        return
    if (query.graft, query.base, query.stack) != (evidence.graft, evidence.base, evidence.stack):
        raise LedgerError(
            f"the decision answers query {query.number} about graft {query.graft[:12]}, the evidence is about "
            f"{evidence.graft[:12]} on its own stack; judge it again"
        )
    asked = [one for one in state.queries.get(query.holdout, ()) if one.query == query]
    if not asked or asked[0].passed is not None:
        what = "was answered before" if asked else "is in no entry of this ledger"
        raise LedgerError(f"query {query.number}, which the decision answers, {what}; judge it again")


def _format_of(marker: Path) -> int:
    try:
        found = json.loads(read_file(marker, at_most=_MOST_MARKER_BYTES).decode())["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotARegistryError(
            f"{marker} is not what a registry has there ({error}); restore it from a copy"
        ) from error
    if type(found) is not int or found < 1:
        raise NotARegistryError(f"{marker} has the format {str(found)[:20]!r}, which is none; restore it from a copy")
    return found
