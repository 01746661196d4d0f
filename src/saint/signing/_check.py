"""Does everything that had to be signed have the signatures that count?"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import final

from saint import records
from saint.errors import RememberedError, SaintError, SignatureError, StorageError
from saint.registry import FOR_EVER, Event, Registry, num_sealed
from saint.signing._attest import must_say
from saint.signing._course import CLOCKS_DIFFER, Course
from saint.signing._envelope import read_envelope
from saint.signing._pinned import must_not_go_back, remember, remembered
from saint.signing._statement import Claim, claims
from saint.signing._trust import Trust, moment

_APART = ("proposer", "evaluator", "approver")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signatures:
    """What came of checking the signatures of a ledger."""

    num_attestations: int
    """Signed statements that were checked."""
    num_unsigned: int
    """Entries that would be signed now, from before the registry had a trust file."""
    keys: tuple[str, ...]
    """Ids of the keys that signed and counted."""
    is_embedded: bool
    """One key has all roles: its signatures tell that its holder wrote this, and not that people watched each other."""
    problems: tuple[str, ...]
    unchecked: tuple[str, ...]
    """Why something could not be checked; nothing for a check of everything."""


def _dated_wrongly(event: Event, course: Course) -> Iterator[str]:
    said = f"entry {event.number} is dated {event.time}"
    if course.is_ahead(event):
        yield f"{said}, which is over a day from now: it is no time for keys to expire by; see who wrote it"
    elif moment(event.time) + CLOCKS_DIFFER < moment(course.clock):
        yield f"{said}, over a day before an entry that comes before it: one of them has a wrong date; see who wrote it"


def check_signatures(registry: Registry, *, now: str) -> Signatures:
    """Check every attestation: that it says what its entry says, and that enough keys that counted then signed it.

    Only where all holds, the registry's trust file is remembered in place of an older one.

    Args:
        now: UTC, ISO 8601, to tell whether the trust file has expired.

    Raises:
        LedgerError: The ledger does not verify.
    """
    checker = _Checker(registry, now=now)
    for event in registry.ledger:
        checker.read(event)
    return checker.result(now)


@final
class _Checker:
    def __init__(self, registry: Registry, *, now: str) -> None:
        self._registry = registry
        self._course = Course(registry.origin, registry.payload, now=now)
        self._problems: list[str] = []
        self._counted: set[str] = set()
        self._num = self._num_unsigned = 0
        self._bare: list[int] = []
        """Numbers of the entries about which nothing has to be signed."""
        self._is_lost = False
        """A change of trust did not hold, so nothing after it can be told."""
        self._signed_by: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        """Candidate's digest -> role -> keys that signed."""
        self._approvers: dict[int, set[str]] = defaultdict(set)
        self._num_approvals: dict[int, int] = defaultdict(int)

    def read(self, event: Event) -> None:
        """Check one entry, those before it being read."""
        if self._is_lost:
            return
        course = self._course
        self._problems += _dated_wrongly(event, course)
        before = course.trust
        try:
            asked = claims(event.name, event.body, course)
            course.read([event])
        except SaintError as error:
            self._problems.append(f"entry {event.number}: {error}; nothing after it could be checked")
            self._is_lost = True
            return
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self._problems.append(f"entry {event.number} does not say what its signature is to be about ({error!r})")
            return
        trust = before or course.trust
        if not asked and "trust" not in event.body:
            self._bare.append(event.number)
        if asked and trust is None:
            self._num_unsigned += 1
        elif asked and trust is not None:
            self._problems += [f"entry {event.number}: {said}" for said in self._attested(event, asked, trust)]

    def _attested(self, event: Event, asked: list[Claim], trust: Trust) -> Iterator[str]:
        digests = event.body.get("attestations", [])
        if not isinstance(digests, list):
            yield "its attestations are no list"
            return
        if len(digests) != len(asked):
            yield f"{len(asked)} attestations belong to a {event.name!r} entry, and it has {len(digests)}"
            return
        for digest, claim in zip(digests, asked, strict=True):
            self._num += 1
            try:
                if digest not in event.blobs:
                    raise SignatureError(f"its entry does not name the blob of attestation {str(digest)[:12]}")
                self._one(event, digest, claim, trust)
            except SaintError as error:
                yield str(error)
        yield from self._approval(event, trust)

    def _one(self, event: Event, digest: str, claim: Claim, trust: Trust) -> None:
        envelope = read_envelope(self._registry.payload(digest))
        must_say(envelope, claim, origin=self._course.origin, at=self._course.clock)
        found = envelope.signers(trust.keys_of(claim.role, at=self._course.clock))
        needed = 1 if claim.role == "approver" else trust.threshold_of(claim.role)
        if len(found) < needed:
            raise SignatureError(
                f"{len(found)} keys that had the role {claim.role} then signed its attestation, and {needed} must: it "
                "was signed by others, or by keys that were revoked or had expired"
            )
        self._counted |= found
        if event.name == "approved":
            number = event.body["judgement"]
            if not trust.is_embedded and found & self._approvers[number]:
                raise SignatureError("the same key approved of this judgement twice")
            self._approvers[number] |= found
            self._num_approvals[number] += 1
        if not trust.is_embedded:
            self._must_be_apart(event, claim, found)

    def _approval(self, event: Event, trust: Trust) -> Iterator[str]:
        """Whether the approval that let a graft stand was the last of enough keys."""
        if event.name != "approved" or trust.is_embedded:
            return
        number, needed = event.body["judgement"], trust.threshold_of("approver")
        wanted = self._course.judged[number].body["decision"]["approvals"]
        if self._num_approvals[number] >= wanted and len(self._approvers[number]) < needed:
            yield f"it let a graft stand after {len(self._approvers[number])} approvers' keys, and {needed} must sign"

    def _must_be_apart(self, event: Event, claim: Claim, found: frozenset[str]) -> None:
        """One key proposes a graft, another judges it, another approves; also where roles were changed since."""
        candidate = self._candidate(event)
        if candidate is None or claim.role not in _APART:
            return
        signed = self._signed_by[records.digest(candidate)]
        signed[claim.role] |= found
        for one, other in combinations(_APART, 2):
            if both := signed[one] & signed[other]:
                raise SignatureError(f"key {min(both)[:12]} signed as {one} and as {other} of the same graft")

    def _candidate(self, event: Event) -> object:
        if event.name == "approved":
            return self._course.judged[event.body["judgement"]].body["evidence"]["candidate"]
        if "evidence" in event.body:
            return event.body["evidence"]["candidate"]
        return event.body.get("candidate")

    def result(self, now: str) -> Signatures:
        """What came of it, after the last entry."""
        trust, unchecked = self._course.trust, []
        try:
            known = remembered(self._course.origin) if self._course.origin else None
            if not self._is_lost:
                must_not_go_back(trust, known, past=self._course.trusts)
        except RememberedError as error:
            known = None
            unchecked = [str(error)]
        except SaintError as error:
            known = None
            self._problems.append(str(error))
        else:
            unchecked = [*_unknown(trust, known, self._num_unsigned, now), *self._uncovered(trust)]
        if trust is not None and known is not None and not self._problems:
            try:
                remember(trust)
            except StorageError as error:
                unchecked.append(f"{error}; that a later trust file follows this one")
        return Signatures(
            num_attestations=self._num,
            num_unsigned=self._num_unsigned,
            keys=tuple(sorted(self._counted)),
            is_embedded=trust is not None and trust.is_embedded,
            problems=tuple(self._problems),
            unchecked=tuple(unchecked),
        )

    def _uncovered(self, trust: Trust | None) -> Iterator[str]:
        """Which entries anybody could have appended: no role signs them, and no checkpoint was signed since."""
        if trust is None or self._is_lost or not self._bare:
            return
        keys = {trust.public(key).public: FOR_EVER for key in trust.roles["log"].keys}
        after = num_sealed(self._registry, keys)
        if left := [number for number in self._bare if number >= after]:
            yield (
                f"{len(left)} entries, the first of them {left[0]}, are signed by no role and come after the last "
                "checkpoint that a log key signed; the next command that writes here where that key is signs one"
            )


def _unknown(trust: Trust | None, known: Trust | None, num_unsigned: int, now: str) -> Iterator[str]:
    if num_unsigned or trust is None:
        yield f"{num_unsigned} entries are from before this registry had a trust file; nobody signed them"
    if trust is not None and known is None:
        yield (
            "nobody has said on this machine whose keys to trust for this registry, so its signatures prove nothing "
            "here; run `saint keys trust REGISTRY --root ID` with the id that its owner tells you"
        )
    if trust is not None and not trust.roles["root"].holds_at(now):
        expired = moment(trust.roles["root"].expires).date()
        yield f"the trust file expired on {expired}: a newer one may be kept from this copy; get it from its owner"
