from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from saint import config, discovery
from saint.errors import ConfigError
from saint.records import Claim, Decision, Evidence, Interval, Outcome, Verdict


class Gate(ABC):
    """A pure question to the evidence: it measures nothing, and asking twice answers the same.

    A gate answers from an interval: wholly inside what is allowed, accept; wholly outside, reject; straddling the
    limit, defer and say what to measure. What was not measured defers, never passes.
    """

    @abstractmethod
    def judge(self, evidence: Evidence) -> Verdict:
        """Accept, reject, or defer for want of evidence; the reason says the numbers."""

    def claims(self, evidence: Evidence) -> tuple[Claim, ...]:  # noqa: ARG002 - what is asked may depend on it
        """What sealed text must show besides; a gate that asks nothing of it is settled by its verdict alone."""
        return ()

    def says(self, outcome: Outcome, reason: str) -> Verdict:
        """The verdict of this gate."""
        return Verdict(gate=type(self).__name__.lower(), outcome=outcome, reason=reason)


def judge(evidence: Evidence, gates: Sequence[Gate]) -> Decision:
    """Ask every gate, also after the first refusal: an audit wants all the reasons. The strictest verdict wins.

    Raises:
        ConfigError: There is no gate to ask.
    """
    if not gates:
        raise ConfigError("no gate was given: a graft that nothing judged is not accepted; name gates in the plan")
    return Decision(verdicts=tuple(gate.judge(evidence) for gate in gates))


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


def spell(interval: Interval) -> str:
    """An interval as gates write it in their reasons."""
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] bits per byte"
