import difflib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from saint import config, discovery
from saint.errors import ConfigError, UnknownNameError
from saint.records import Against, Claim, Evidence, Interval, Outcome, Verdict

_CLIP_DEVIATIONS = 5.0  # what lies further out counts as this far: it costs next to nothing of a normal spread
_SMALLEST_CLIP = 1e-6  # a spread of nothing, as of a graft that changes nothing, is no ground to clip at nothing


class Gate(ABC):
    """A pure question to the evidence: it measures nothing, and asking twice answers the same.

    A gate is asked twice. Of what development text shows, it answers from an interval: wholly inside what is allowed,
    accept; wholly outside, reject; straddling the limit, defer and say what to measure. What was not measured defers,
    never passes. Whoever searches has looked at that text, however, so a gate that is about text also says what sealed
    text must show: its claims, which are tested together, as one query, with one bit for an answer.
    """

    @abstractmethod
    def judge(self, evidence: Evidence) -> Verdict:
        """Accept, reject, or defer for want of evidence; the reason says the numbers."""

    def claims(self, evidence: Evidence) -> tuple[Claim, ...]:  # noqa: ARG002 - what is asked may depend on it
        """What sealed text must show besides; a gate that asks nothing of it is settled by its verdict alone.

        A gate of which some evidence is missing has to defer, and to claim nothing at all: what it claimed besides
        would be asked, and the answer taken for its whole verdict.
        """
        return ()

    def must_know(self, evidence: Evidence) -> None:  # noqa: B027 - most gates name no suite
        """Refuse a limit of a suite that no text is there for, before anything is judged by it.

        Args:
            evidence: Of a graft of which everything was measured that there is text for.

        Raises:
            UnknownNameError: There is no such suite; the message lists what there is.
        """

    def says(self, outcome: Outcome, reason: str) -> Verdict:
        """The verdict of this gate."""
        return Verdict(gate=type(self).__name__.lower(), outcome=outcome, reason=reason)

    def claim(
        self, evidence: Evidence, suite: str, *, against: Against, above: float, at_most_heavy: float
    ) -> tuple[Claim, ...]:
        """That the mean of what is saved on `suite` is above a limit; nothing where its spread was not measured.

        What counts in full is fixed from development text, before sealed text is looked at: five standard deviations,
        and twice the limit at least, for a mean below a limit must not be clipped away.
        """
        spread = evidence.spreads.get(suite, {}).get(against)
        if spread is None:
            return ()
        clip = max(_CLIP_DEVIATIONS * spread.deviation, 2 * abs(above), _SMALLEST_CLIP)
        name = type(self).__name__.lower()
        claim = Claim(
            gate=name, suite=suite, against=against, above=above, clip=round(clip, 6), at_most_heavy=at_most_heavy
        )
        return (claim,)


def verdicts(evidence: Evidence, gates: Sequence[Gate]) -> tuple[Verdict, ...]:
    """Ask every gate, also after the first refusal: an audit wants all the reasons.

    Raises:
        ConfigError: There is no gate to ask.
    """
    if not gates:
        raise ConfigError("no gate was given: a graft that nothing judged is not accepted; name gates in the plan")
    return tuple(gate.judge(evidence) for gate in gates)


def build_gates(policy: Mapping[str, Mapping[str, Any]]) -> list[Gate]:
    """The gates that a plan's `[gates.<name>]` tables describe.

    Raises:
        UnknownNameError: There is no such gate.
        ConfigError: A gate has no such setting, or there is no gate at all.
    """
    if not policy:
        raise ConfigError("the plan names no gate: a graft that nothing judged is not accepted; add [gates.gain]")
    gates: list[Gate] = []
    for name, settings in policy.items():
        gates.append(config.build(settings, discovery.find("gates", name, Gate), where=f"gates.{name}"))
    return gates


def must_be_suites(gate: str, named: Iterable[str], there: Collection[str]) -> None:
    """Refuse names of suites that a gate has limits for and that do not exist.

    Raises:
        UnknownNameError: One does not.
    """
    for name in named:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(there)) or 'none'}"
            raise UnknownNameError(
                f"gates.{gate} has a limit for the suite {name!r}, of which there is no text; {hint}"
            )


def spell(interval: Interval) -> str:
    """An interval as gates write it in their reasons."""
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] bits per byte"


def must_be_share(name: str, share: float) -> None:
    """Refuse a share that nothing can be.

    Raises:
        ConfigError: It is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"{name} is {share}; it must be above 0 and up to 1")
