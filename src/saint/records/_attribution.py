"""Which graft of a stack changed what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from saint.records._nouns import Interval


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentChange:
    """What one graft does to one document, all others standing."""

    document: str
    """SHA-256 of its text."""
    before_bpb: float
    """Bits per byte under the stack without the graft."""
    after_bpb: float
    """Under the whole stack."""
    beginning: str
    """The first words; "" where texts are not to be shown."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one graft has to do with what the whole stack does to one suite, in bits per byte saved; positive is better.

    Intervals have the document as the unit.
    """

    graft: str
    at_activation: Interval
    """On the grafts below it, as they stand now."""
    left_out: Interval
    """On all other grafts: what would be lost if it alone were taken out."""
    shapley: Interval
    """Averaged over all orders in which the grafts could have been put in; these sum to the total."""
    standard_error_of_orders: float
    """The part of the Shapley value's standard error that is from having tried some orders only; 0.0 for all."""
    documents: tuple[DocumentChange, ...]
    """Those that it changes most per byte, the most changed first."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PairGain:
    """What two grafts gain together less the sum of what each gains apart, on all other grafts."""

    one: str
    other: str
    gain_bpb: Interval
    """Negative where they hinder each other, or do the same thing twice."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteAttribution:
    """Who changed one suite."""

    documents: str
    """Digest of what was measured."""
    total: Interval
    """Bits per byte that the whole stack saves against the bare base."""
    shares: tuple[Share, ...]
    """In the stack's order."""
    pairs: tuple[PairGain, ...]

    @property
    def worst(self) -> Share | None:
        """The graft with the lowest Shapley value; None without grafts."""
        return min(self.shares, key=lambda share: share.shapley.estimate, default=None)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """Which graft of a stack changed which suite, and by how much."""

    base: str
    stack: tuple[str, ...]
    num_pairs: int
    """Orders and their reverses that Shapley values are averaged over; 0 for all orders there are."""
    suites: Mapping[str, SuiteAttribution]
