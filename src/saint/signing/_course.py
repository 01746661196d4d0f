"""What a signature has to agree with, read from the ledger's entries in order."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, final

from saint.errors import SaintError, SignatureError
from saint.registry import Event
from saint.signing._envelope import read_envelope
from saint.signing._trust import Trust, follow, moment

CLOCKS_DIFFER = timedelta(days=1)
"""What is dated wrongly by no more is nobody's fault."""


@final
class Course:
    """The ledger as far as it was read.

    Args:
        origin: The registry's.
        payload: Digest of a blob -> its content.
        now: UTC, ISO 8601; that of this machine's clock, whenever it is needed, when left out.
    """

    def __init__(self, origin: str, payload: Callable[[str], bytes], *, now: str = "") -> None:
        self.origin, self._payload, self._now = origin, payload, now
        self.num_read = 0
        self.trust: Trust | None = None
        self.trusts: set[str] = set()
        """Digests of all trust files so far."""
        self.clock = datetime.min.replace(tzinfo=UTC).isoformat()
        """The latest time of any entry: an entry that is dated back does not bring back an expired key.

        One from the future is left out: it would have all keys expire that ever will.
        """
        self.created: Mapping[str, Any] = {}
        self.policy = ""
        """Digest of the policy in force."""
        self.judged: dict[int, Event] = {}
        """Number of an entry -> the judgement."""

    @property
    def base(self) -> str:
        """Digest of the base; "" until it is known."""
        if digest := self.created.get("base", {}).get("digest", ""):
            return str(digest)
        return next((str(one.body["evidence"]["base"]) for one in self.judged.values()), "")

    def read(self, events: Iterable[Event]) -> None:
        """Go on with entries that follow those read before.

        Raises:
            SignatureError: A change of the trust file does not hold.
        """
        for event in events:
            self.num_read += 1
            try:
                self._read(event)
            except SaintError:
                raise
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise SignatureError(
                    f"entry {event.number} does not say what a {event.name!r} entry has to ({error!r}); restore the "
                    "log from a copy"
                ) from error

    def _read(self, event: Event) -> None:
        if not self.is_ahead(event):
            self.clock = max(self.clock, event.time, key=moment)
        if "trust" in event.body:
            self.take(event)
        if event.name == "created":
            self.created = event.body
        elif event.name == "policy_set":
            self.policy = event.body["digest"]
        elif event.name in ("judged", "rejudged"):
            self.judged[event.number] = event

    def is_ahead(self, event: Event) -> bool:
        """Whether an entry is from the future, by more than clocks differ."""
        now = moment(self._now) if self._now else datetime.now(UTC)
        return moment(event.time) > now + CLOCKS_DIFFER

    def take(self, event: Event) -> Trust:
        """Put the trust file of an entry in the place of the one before it.

        Raises:
            SignatureError: It may not.
        """
        self.trust = self.changed(event)
        self.trusts.add(self.trust.digest)
        return self.trust

    def changed(self, event: Event) -> Trust:
        """The trust file that an entry puts in the place of the one before it.

        Raises:
            SignatureError: It may not.
        """
        if event.body["trust"] not in event.blobs:
            raise SignatureError(f"entry {event.number} does not name the blob of its trust file")
        envelope = read_envelope(self._payload(event.body["trust"]))
        return follow(self.trust, envelope, origin=self.origin)
