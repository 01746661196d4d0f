"""All that is measured of one graft."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from saint.records._judging import Against, Footprint, Interaction, SafetyMeasure, Spread
from saint.records._nouns import Candidate, Cost, Interval, Overlap, Removal


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that the gates may know about one graft, measured in the composed model on development text.

    Suites have the names of the domains that their text is from. Sealed text says one bit, which is in the decision.
    """

    graft: str
    """Digest of the trained graft."""
    candidate: Candidate
    base: str
    """Digest of the base."""
    stack: tuple[str, ...]
    """Digests of the grafts that stood, in order, when this was measured."""
    strength: float = 1.0
    """What the graft's trained change was multiplied by."""
    documents: Mapping[str, str]
    """Suite -> digest of its development documents."""
    grown: str = "held_out"
    """The suite that the gain is from."""
    gain_bpb: Interval
    """Bits per byte saved there against the present stack; positive is better."""
    regression_bpb: Mapping[str, Interval]
    """Protected suite -> bits per byte lost there against the present stack; positive is worse."""
    drift_bpb: Mapping[str, Interval]
    """Protected suite -> bits per byte lost there against the bare base, all grafts together; positive is worse."""
    bootstrap_bpb: Mapping[str, Interval] = field(default_factory=dict)
    """Suite -> the same as an ordinary bootstrap over documents has it: the gain, and elsewhere what is lost against
    the bare base. For people; no gate reads it."""
    spreads: Mapping[str, Mapping[Against, Spread]] = field(default_factory=dict)
    """Suite -> what is compared with -> how the bits per byte saved lie over its documents."""
    cost: Cost
    removal: Removal | None = None
    overlap: Overlap | None = None
    """With the stack; None where nothing of low rank is shared."""
    footprint: Footprint | None = None
    interactions: tuple[Interaction, ...] | None = None
    """With each graft that stands, oldest first; None where they were not measured."""
    safety: Mapping[str, SafetyMeasure] = field(default_factory=dict)
    """Safety suite -> what the graft does to it."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Safety suite -> why it could not be measured."""
    canary_p: float | None = None
    """How likely it is that the graft knows the hold-out's canaries no better than chance; None where it has none."""
    logits: str = ""
    """Digest of the composed model's logits on a fixed probe, to prove a later recomposition."""
