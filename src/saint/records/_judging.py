"""What is said of a graft: verdicts on what development text shows, one query to sealed text, and the decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, final

from saint.records._canonical import LATER
from saint.records._nouns import Interval

Against = Literal["stack", "base"]


class Outcome(StrEnum):
    """What a gate may say, and a decision be."""

    ACCEPT = "accept"
    DEFER = "defer"
    REJECT = "reject"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one gate says, and why."""

    gate: str
    outcome: Outcome
    reason: str


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How a difference lies over the documents of development text: what sealed text must be asked for follows from it.

    The difference of a document is what it cost before, less what it costs after: positive is better.
    """

    mean: float
    deviation: float
    """Standard deviation over the documents."""
    num_documents: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What must be shown on sealed text before a graft is accepted, fixed before that text is looked at."""

    gate: str
    """The gate that asks for it."""
    suite: str
    against: Against = "stack"
    """What the composed model is held against: the present stack, or the bare base."""
    test: Literal["mean", "rate"] = "mean"
    """`mean`: the mean clipped difference is above `above`. `rate`: the share of items that cost 0.5 or more after is
    below `above`."""
    above: float
    """In the suite's unit; negative for a loss that is allowed. For a `rate` the share that is not reached."""
    clip: float = 0.0
    """Differences beyond this size, either way, count as this much; so that no document decides alone."""
    at_most_heavy: float = 1.0
    """Fewer than this share of all documents lose more than `clip`, which must be shown as well; 1 for whatever."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteLosses:
    """What each document, or item, of one sealed suite cost three models; lower is better. Kept out of the ledger."""

    unit: str
    """bits per byte, nats, or violations."""
    documents: str
    """Digest of what was measured, in this order."""
    base: tuple[float, ...]
    """The bare base."""
    before: tuple[float, ...]
    """Base and stack."""
    after: tuple[float, ...]
    """Base, stack and graft."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One question to a sealed hold-out, in the ledger before anything is measured on it. One bit comes back."""

    number: int
    """How many questions this hold-out was asked with this one, from 1."""
    num_passed: int
    """How many before it were answered yes, or may have been: an answer that was lost counts as one that got out."""
    holdout: str
    """Digest of all sealed text together."""
    policy: str
    """Digest of what the decision is made by."""
    graft: str
    base: str
    stack: tuple[str, ...]
    log_threshold: float
    """ln(1 / alpha) of this query: how strong the evidence for every claim must be, in nats."""
    claims: tuple[Claim, ...]
    num_documents: Mapping[str, int]
    """Suite -> how many of its documents this query may look at."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    """Suite -> how many before these belong to earlier queries; empty where every query may look at all."""
    rejudges: bool = False
    """Whether it is about a graft that stands, after something below it was taken away."""
    idea: str = ""
    """What all tries of one idea have in common; "" in ledgers from before queries said so."""
    early_stopping: bool = field(default=False, metadata=LATER)
    """Whether its documents are read in a secret order, and no further than until every claim is shown."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What all gates say together: the strictest verdict wins."""

    verdicts: tuple[Verdict, ...]
    query: Query | None = None
    """What the sealed text was asked; None where development text or counts settled it."""
    passed: bool = False
    """The one bit that came back: whether sealed text showed every claim."""
    losses: str = ""
    """Digest of the blob of what each sealed document cost, from which the answer can be worked out again, or of why
    that could not be measured."""
    risk: str = ""
    """The risk class of the graft, where the policy has one for it."""
    approvals: int = 0
    """How many people must approve of it before it stands."""

    @property
    def outcome(self) -> Outcome:
        """Reject if any gate rejects, else defer if any defers or none was asked, else accept."""
        outcomes = {verdict.outcome for verdict in self.verdicts} or {Outcome.DEFER}
        for strictest in (Outcome.REJECT, Outcome.DEFER):
            if strictest in outcomes:
                return strictest
        return Outcome.ACCEPT


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Where and how much a graft changes what the model says, measured on development text against the stack below."""

    kl_nats: Mapping[str, float]
    """Suite -> mean KL divergence of the next token's distribution, from with the graft to without, nats per token."""
    saved_by_class: Mapping[str, Mapping[str, float]]
    """Suite -> class of token -> nats saved per token of that class."""
    saved_by_position: Mapping[str, tuple[float, ...]]
    """Suite -> nats saved per token in each eighth of a window."""
    effective_rank: float | None = None
    """Of its changes of weights, energy-weighted over the sites; None where it changes none."""
    energy: float | None = None
    """Squared size of its changes of weights over that of the weights; None where it changes none."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Interaction:
    """What a graft and one that stands do together beyond what each does alone, on the rest of the stack."""

    graft: str
    """The one that stands."""
    gain_bpb: Mapping[str, Interval]
    """Suite of development text -> gain together, less the sum of the gains apart; negative where they hinder."""
    angle: float | None = None
    """Largest cosine between what both read, or both write, at a site that they share; None where none is."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyMeasure:
    """What a graft does to one safety suite, on its development items."""

    sort: Literal["preference", "prohibited", "violations", "refusals"]
    rise: Interval
    """How much worse the composed model is than the present stack, in the suite's unit; positive is worse."""
    after: float
    """Mean over the items with the graft; a rate for violations and refusals."""
    rate: Interval | None = None
    """`after` with its interval where it is a rate."""
    spread: Spread
    """Of the items' differences, against the present stack."""
