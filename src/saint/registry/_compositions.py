"""Base and some grafts in an order, under a name: what may be one, and what the ledger knows of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, final

from saint import config
from saint.errors import ConfigError, RolledBackError, UnknownNameError
from saint.records import Scaled, composition_digest
from saint.registry._state import Entry, State

BASE, STANDING = "base", "standing"
"""Names that are always there: of no graft at all, and of those that stand."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """Grafts on the base, first one first, and what the ledger knows of them together."""

    name: str
    grafts: tuple[Scaled, ...]
    digest: str
    """SHA-256 over the base, and the grafts with their scales in their order."""
    is_validated: bool
    """Whether just these grafts, in this order and at full scale, were accepted together by a decision that holds."""
    withdrawn: tuple[str, ...]
    """Those of its grafts that do not stand: rolled back since it was named, or never accepted."""
    judgement: Entry | None = None
    """The latest judgement of just these grafts together, whatever its outcome; None if there is none."""
    reason: str = ""
    number: int | None = None
    """The ledger's entry that names it; None for one that needs no entry."""
    time: str = ""

    def must_stand(self) -> Self:
        """Refuse one that cannot be used.

        Raises:
            RolledBackError: A graft of it does not stand.
        """
        if self.withdrawn:
            raise RolledBackError(
                f"composition {self.name} holds {', '.join(graft[:12] for graft in self.withdrawn)}, which "
                f"{'does' if len(self.withdrawn) == 1 else 'do'} not stand any more; name what is left of it anew with "
                "`saint compose`, or have the graft judged again"
            )
        return self


def composition_named(state: State, name: str) -> Composition:
    """The composition that has a name, or the stack that a graft was judged with, by the start of its digest.

    A name goes before a digest that starts like it.

    Raises:
        UnknownNameError: Nothing is called so.
    """
    if name == BASE:
        return composition_of(state, [], name=name)
    if name == STANDING:  # what is in quarantine stands until it is rolled back, and is not validated
        stack = [Scaled(graft=graft) for graft in state.standing]
        return replace(composition_of(state, stack, name=name), withdrawn=())
    if name in state.compositions:
        said = state.compositions[name]
        found = composition_of(state, said["grafts"], name=name)
        return replace(found, reason=said["reason"], number=said["number"], time=said["time"])
    judged = {entry.digest: entry for entry in state.judged if name and entry.digest.startswith(name)}
    if len(judged) != 1:
        names = ", ".join([BASE, STANDING, *state.compositions])
        problem = f"{len(judged)} grafts have a digest that starts with" if judged else "nothing is called"
        raise UnknownNameError(
            f"{problem} {name!r}; give one of the compositions {names}, or the start of one graft's digest"
        )
    [entry] = judged.values()
    stack = [Scaled(graft=graft) for graft in (*entry.evidence.stack, entry.digest)]
    return composition_of(state, stack, name=f"as of {entry.digest[:12]}")


def compositions_in(state: State) -> list[Composition]:
    """Every composition that has a name, in the order of their names, after the two that are always there."""
    return [composition_named(state, name) for name in (BASE, STANDING, *sorted(state.compositions))]


def judgement_of(state: State, stack: Sequence[str]) -> Entry | None:
    """The latest judgement of just these grafts together: of the last of them on those before it."""
    found = [one for one in state.judged if [*one.evidence.stack, one.digest] == list(stack)]
    return found[-1] if found else None


def named_in(state: State, body: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """What a `composed` entry says, checked against the state that it follows.

    Raises:
        ConfigError: The name cannot be one, or the grafts cannot be composed.
        UnknownNameError: A graft is not known.
    """
    name = body["name"]
    if name in (BASE, STANDING) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a composition: {BASE} and {STANDING} have their own meaning, and a name is a letter "
            "and up to 63 letters, digits, points, hyphens and underscores"
        )
    grafts = tuple(config.build(one, Scaled, where=where) for one in body["grafts"])
    if not grafts:
        raise ConfigError(f"composition {name} has no grafts, which is what {BASE} means; give at least one")
    for place, one in enumerate(grafts):
        _must_be_usable(state, one.graft)
        if one.graft in [other.graft for other in grafts[:place]]:
            raise ConfigError(f"graft {one.graft[:12]} is twice in composition {name}; give its scale as one number")
    if body["composition"] != composition_digest(state.base, grafts):
        raise ConfigError(f"{where} gives composition {name} another digest than its grafts have")
    return {"grafts": grafts, "composition": body["composition"], "reason": body["reason"]}


def _must_be_usable(state: State, graft: str) -> None:
    if graft in state.standing and graft not in state.quarantined:
        return
    judged = [entry for entry in state.judged if entry.digest == graft]
    if not judged:
        raise UnknownNameError(f"no graft of this registry has the digest {graft[:12]}; `saint status` lists them")
    status = "quarantined" if graft in state.quarantined else judged[-1].status
    raise ConfigError(
        f"graft {graft[:12]} cannot be composed, its status is {status!r}; give grafts that stand, as `saint status` "
        "lists them"
    )


def composition_of(state: State, grafts: Sequence[Scaled], *, name: str = "unnamed") -> Composition:
    """What the ledger knows of these grafts together, whatever they are called."""
    stack = [one.graft for one in grafts]
    standing = [graft for graft in state.standing if graft not in state.quarantined]
    withdrawn = tuple(graft for graft in stack if graft not in standing)
    is_whole = all(one.scale == 1 for one in grafts)
    judgement = judgement_of(state, stack) if is_whole else None
    accepted = judgement is not None and judgement.status == "stands"
    return Composition(
        name=name,
        grafts=tuple(grafts),
        digest=composition_digest(state.base, grafts),
        is_validated=is_whole and not withdrawn and (accepted or _stands_validated(state, stack)),
        withdrawn=withdrawn,
        judgement=judgement,
    )


def _stands_validated(state: State, stack: Sequence[str]) -> bool:
    """Whether it is the standing stack up to some graft, each of which was judged on those below, once or again."""
    unvalidated = {entry.digest for entry in state.judged if entry.status == "stands" and entry.unvalidated}
    return state.standing[: len(stack)] == list(stack) and not unvalidated.intersection(stack)
