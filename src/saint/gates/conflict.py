"""Does the graft get on with those that stand?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.gates._gate import must_be_suites, spell
from saint.records import Evidence, Interaction, Interval, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict(Gate):
    """Together with any graft that stands it may not do much less than the sum of what both do apart.

    So two grafts that are harmless alone and harmful together are told apart from two that are harmless, when the
    second one is to stand. A limit that is not given is none.
    """

    at_least_bpb: float | None = None
    """What both do together beyond the sum, in bits per byte on every suite: not positive, and 0 for no loss at all.
    Grafts that learnt the same save less together, so the suite that is grown needs room here, or a limit of its own.
    """
    suites: Mapping[str, float] = field(default_factory=dict)
    """Suite -> its own limit."""
    at_most_angle: float | None = None
    """Largest cosine between what the two read, or write, at a site that both change: from 0, apart, to 1, the same."""
    at_most_inside: float | None = None
    """Share of the change that lies within what the whole stack spans."""

    def __post_init__(self) -> None:
        """Refuse a gate that asks nothing, and limits that nothing or everything keeps."""
        limits = {"at_least_bpb": self.at_least_bpb, **self.suites}
        shares = {"at_most_angle": self.at_most_angle, "at_most_inside": self.at_most_inside}
        if not self.suites and {self.at_least_bpb, *shares.values()} == {None}:
            raise ConfigError("the gate limits nothing; give at_least_bpb, suites, at_most_angle or at_most_inside")
        for name, limit in limits.items():
            if limit is not None and limit > 0:
                raise ConfigError(f"{name} is {limit}; it must not be positive, for grafts that add up interact by 0")
        for name, share in shares.items():
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}; it must be from 0 to 1")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        if not evidence.stack:
            return self.says(Outcome.ACCEPT, "0 grafts stand that it could be in conflict with")
        measured = self._with_each_other(evidence)
        found = [*measured, self._inside(evidence)] if self.at_most_inside is not None else measured
        strictest = next((o for o in (Outcome.REJECT, Outcome.DEFER) if o in dict(found)), Outcome.ACCEPT)
        return self.says(strictest, "; ".join(reason for outcome, reason in found if outcome is strictest))

    @override
    def must_know(self, evidence: Evidence) -> None:
        must_be_suites("conflict", self.suites, {evidence.grown, *evidence.drift_bpb})

    def _with_each_other(self, evidence: Evidence) -> list[tuple[Outcome, str]]:
        """What the interactions say, as far as a limit is about them."""
        limits_gain, found = self.at_least_bpb is not None or bool(self.suites), evidence.interactions
        if not limits_gain and self.at_most_angle is None:
            return []
        if not found:
            return [(Outcome.DEFER, f"how it acts with the {len(evidence.stack)} grafts that stand was not measured")]
        told = [self._together(evidence, found)] if limits_gain else []
        return [*told, self._angle(found)] if self.at_most_angle is not None else told

    def _together(self, evidence: Evidence, found: tuple[Interaction, ...]) -> tuple[Outcome, str]:
        missing = sorted(suite for suite in self.suites if any(suite not in one.gain_bpb for one in found))
        if missing:
            return Outcome.DEFER, f"{missing[0]}, which has a limit here, was not measured; name a domain of the plan"
        measured = [
            (limit, one.graft, suite, gain)
            for one in found
            for suite, gain in one.gain_bpb.items()
            if (limit := self.suites.get(suite, self.at_least_bpb)) is not None
        ]
        if not measured:
            return Outcome.DEFER, "no suite was measured; give the plan domains with development text"
        limit, graft, suite, worst = min(measured, key=_room)
        numbers = (
            f"with {graft[:12]} ({len(found)} of {len(evidence.stack)} that stand were tried) it saves {spell(worst)} "
            f"on {suite} beyond the sum of both, asked {limit:+.4f}"
        )
        if worst.high < limit:
            return Outcome.REJECT, numbers
        if len(found) < len(evidence.stack):
            return Outcome.DEFER, f"{numbers}: measure it with the others as well"
        if worst.low >= limit:
            return Outcome.ACCEPT, numbers
        return Outcome.DEFER, f"{numbers}: the interval straddles it; give more documents of {suite}"

    def _angle(self, found: tuple[Interaction, ...]) -> tuple[Outcome, str]:
        limit = self.at_most_angle or 0.0
        angles = {one.graft: one.angle for one in found if one.angle is not None}
        if not angles:
            return Outcome.ACCEPT, f"it shares nothing of low rank with the {len(found)} that were tried"
        graft = max(angles, key=lambda graft: angles[graft])
        outcome = Outcome.REJECT if angles[graft] > limit else Outcome.ACCEPT
        return outcome, f"largest cosine {angles[graft]:.3f}, with {graft[:12]}, allowed {limit:.3f}"

    def _inside(self, evidence: Evidence) -> tuple[Outcome, str]:
        limit, inside = self.at_most_inside or 0.0, evidence.overlap.inside if evidence.overlap else 0.0
        outcome = Outcome.REJECT if inside > limit else Outcome.ACCEPT
        return outcome, f"{inside:.3f} of the change lies within what the stack spans, allowed {limit:.3f}"


def _room(measured: tuple[float, str, str, Interval]) -> tuple[bool, float]:
    """What is surely below its limit comes first, then what is least surely above it."""
    limit, _, _, gain = measured
    return gain.high >= limit, gain.low - limit
