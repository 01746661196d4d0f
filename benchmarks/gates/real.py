"""Whether the gates tell real grafts that help from real ones that do not: forty shams, and ten that help.

All are judged in one random order, by `saint.judge`, with one registry and one hold-out, twice. First as it is in use.
Then as an adversary would have it who has read all the development text: what it says of a sham is replaced by what it
says of the best graft, so that nothing is screened out and sealed text is asked about every one. Each graft is judged
on the bare base: what is accepted is rolled back before the next is asked about, or no two answers could be compared.
The vault says which grafts help in truth, as no gate and no rule does: who helps must do so there by more than five
standard errors, and a sham must have a mean of 0 or less. A random change may help a little. One that does is judged
like the others, has a row of its own, and another is drawn for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import numpy as np

from benchmarks.gates.candidates import AT_MOST_LOST_BPB, GROWN, HELPFUL, NO_SHAM, SHAMS, Made, Workshop
from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import ALPHA, Differences, mean_is_above_zero, paired_t
from benchmarks.gates.setting import Setting
from saint.evaluation import Sealed, evaluate
from saint.judging import Judging, Policy, is_shown, judge, read_losses, replay_decisions, set_policy
from saint.records import Decision, Evidence, Interval, Outcome, Spread
from saint.registry import Registry

_AT_MOST_HEAVY = 0.04
_SURELY = 5.0  # standard errors by which a graft that helps has to do so
_MOST_MISSED = 0.1  # of those that help


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What became of each graft, in the order in which they were made."""

    decisions: Sequence[Decision]
    gains_shown: Sequence[bool]
    """Whether sealed text showed the gain, whatever became of the rest."""
    num_differing: int
    """Decisions that the ledger does not bear out."""

    @property
    def accepted(self) -> list[bool]:
        """Which were accepted."""
        return [decision.outcome is Outcome.ACCEPT for decision in self.decisions]

    @property
    def note(self) -> str:
        """How often sealed text was asked, and how hard it was at last."""
        queries = [decision.query for decision in self.decisions if decision.query is not None]
        hardest = max((query.log_threshold for query in queries), default=0.0)
        count = f"{len(queries)} queries, the hardest at ln(1/alpha) = {hardest:.1f}"
        return f"{count}; {self.num_differing} decisions come out otherwise when replayed"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What was said of one graft."""

    sort: str
    vault: Interval
    """What it saves in truth, as far as the vault can say."""
    saved: Differences
    """On the held-out documents, which the naive rules look at, in bits per byte."""
    is_gain_shown: bool
    """Unscreened, by the gain's claim alone."""
    is_accepted_unscreened: bool
    is_accepted: bool

    @property
    def errors(self) -> float:
        """What it saves on the vault, in standard errors."""
        return self.vault.estimate / self.vault.standard_error


_RULES: Mapping[str, Callable[[Answers], bool]] = {
    "mean > 0": lambda one: mean_is_above_zero(one.saved),
    "paired t": lambda one: paired_t(one.saved),
    "gain alone": lambda one: one.is_gain_shown,
    "unscreened": lambda one: one.is_accepted_unscreened,
    "in use": lambda one: one.is_accepted,
}
"""Two naive rules on held-out text, the gain's claim unscreened, and all gates in both rounds."""


def measure(setting: Setting) -> Findings:
    """What each rule accepts of each sort, and the figures that were asked for."""
    workshop = Workshop(setting)
    made = workshop.make(setting.num(10, 2))
    found, notes = _answers(workshop, made)
    findings = Findings(setting=setting, heads=("graft", "of", "saved on the vault", "in s.e.", *_RULES), notes=notes)
    for sort in (HELPFUL, *SHAMS, NO_SHAM):
        if of_sort := [one for one in found if one.sort == sort]:
            findings.rows.append(_row(sort, of_sort))
    shams = [one for one in found if one.sort in SHAMS]
    helpful = [one for one in found if one.sort == HELPFUL]
    surely = [one for one in helpful if one.errors > _SURELY]
    least = len(helpful) - floor(_MOST_MISSED * len(helpful))
    findings.ask("real_shams", len(shams), len(SHAMS) * len(helpful), "at_least")
    findings.ask("real_sham_accepted", sum(one.is_accepted_unscreened for one in shams), 0)
    findings.ask("real_sham_accepted_in_use", sum(one.is_accepted for one in shams), 0)
    findings.ask("real_helping_by_5_se", len(surely), len(helpful), "at_least")
    findings.ask("real_helpful_accepted", sum(one.is_accepted for one in surely), least, "at_least")
    findings.ask(
        "real_helpful_accepted_unscreened", sum(one.is_accepted_unscreened for one in surely), least, "at_least"
    )
    return findings


def _answers(workshop: Workshop, made: Sequence[Made]) -> tuple[list[Answers], list[str]]:
    """What the gates and the rules say of each graft, and what has to be said of it."""
    base, data, losses = workshop.base, workshop.data, workshop.losses
    evidence = [evaluate(base, (), one.graft, data.select, grown=GROWN, losses=losses) for one in made]
    helpful = [found for one, found in zip(made, evidence, strict=True) if one.sort == HELPFUL]
    best = max(helpful, key=lambda found: found.gain_bpb.estimate)
    lucky = [
        found if one.sort == HELPFUL else flattered(found, best) for one, found in zip(made, evidence, strict=True)
    ]
    in_use, unscreened = _judged(workshop, made, evidence), _judged(workshop, made, lucky)
    found = [
        Answers(
            sort=one.sort,
            vault=losses.saved(base, (), (one.graft,), data.vault[GROWN]),
            saved=_saved(workshop, one),
            is_gain_shown=unscreened.gains_shown[number],
            is_accepted_unscreened=unscreened.accepted[number],
            is_accepted=in_use.accepted[number],
        )
        for number, one in enumerate(made)
    ]
    return found, [*_notes(workshop, found), f"in use: {in_use.note}", f"unscreened: {unscreened.note}"]


def flattered(evidence: Evidence, best: Evidence) -> Evidence:
    """The same graft with the means that development text has of another; how documents vary stays its own."""

    def moved(suite: str, spreads: Mapping[str, Spread]) -> dict[str, Spread]:
        return {against: replace(one, mean=best.spreads[suite][against].mean) for against, one in spreads.items()}

    return replace(
        evidence,
        gain_bpb=best.gain_bpb,
        regression_bpb=best.regression_bpb,
        drift_bpb=best.drift_bpb,
        spreads={suite: moved(suite, spreads) for suite, spreads in evidence.spreads.items()},
    )


def _judged(workshop: Workshop, made: Sequence[Made], evidence: Sequence[Evidence]) -> Round:
    """Judge all of them, in one random order, with one registry and one hold-out."""
    decisions: dict[int, Decision] = {}
    shown: dict[int, bool] = {}
    with TemporaryDirectory() as folder:
        registry = Registry.open(Path(folder) / "registry")
        set_policy(registry, _policy(len(made)))
        for number in np.random.default_rng(0).permutation(len(made)).tolist():
            graft = made[number].graft
            sealed = Sealed(workshop.base, (), (graft,), workshop.data, losses=workshop.losses)
            decision = judge(registry, evidence[number], sealed)
            digest = registry.record(graft, evidence[number], decision)
            if decision.outcome is Outcome.ACCEPT:
                registry.rollback(digest, reason="the next one is judged on the bare base too")
            decisions[number], shown[number] = decision, _is_gain_shown(registry, decision)
        num_differing = len(replay_decisions(registry).problems)
    places = range(len(made))
    return Round(
        decisions=[decisions[place] for place in places],
        gains_shown=[shown[place] for place in places],
        num_differing=num_differing,
    )


def _is_gain_shown(registry: Registry, decision: Decision) -> bool:
    query = decision.query
    if query is None:
        return False
    costs = read_losses(registry.payload(decision.losses))
    gains = [claim for claim in query.claims if claim.gate == "gain"]
    return all(is_shown(claim, costs[claim.suite], query.log_threshold) for claim in gains)


def _policy(num_judged: int) -> Policy:
    """Any gain at all, and code may lose as much as strengths were chosen by.

    The tail guard is the loosest that guards against anything: the default would take 2,000 documents by the end of the
    unscreened round. Shams share sites and kind with what helps, so they count as retries of it.
    """
    gates = {
        "gain": {"at_least_bpb": 0.0, "at_most_heavy": _AT_MOST_HEAVY},
        "retention": {"at_most_bpb": AT_MOST_LOST_BPB, "at_most_heavy": _AT_MOST_HEAVY},
        "rollback": {},
    }
    return Policy(gates=gates, judging=Judging(alpha=ALPHA, at_most_retries=num_judged))


def _saved(workshop: Workshop, one: Made) -> Differences:
    """Bits per byte that each held-out document saves."""
    corpus = workshop.data.held_out
    before = workshop.losses.of(workshop.base, (), corpus)
    saved: Differences = (before - workshop.losses.of(workshop.base, (one.graft,), corpus)) / corpus.num_bytes_each
    return saved / np.log(2)


def _row(sort: str, found: Sequence[Answers]) -> Sequence[str]:
    """How much a sort helps in truth, from its worst to its best, and how many of it each rule accepts."""
    saved, errors = [one.vault.estimate for one in found], [one.errors for one in found]
    truth = (f"{min(saved):+.4f} to {max(saved):+.4f}", f"{min(errors):+.1f} to {max(errors):+.1f}")
    return (sort, str(len(found)), *truth, *(str(sum(map(rule, found))) for rule in _RULES.values()))


def _notes(workshop: Workshop, found: Sequence[Answers]) -> list[str]:
    shams = [one for one in found if one.sort in SHAMS]
    sealed, documents = workshop.data.sealed, workshop.data.held_out.documents
    texts = np.unique([workshop.text_of[document] for document in documents], return_inverse=True)[1]
    wider = [clustering(one.saved, texts) for one in found]
    sizes = ", ".join(f"{corpus.num_documents} of {name}" for name, corpus in sealed.items())
    spread = f"{min(wider):.2f} to {max(wider):.2f} times as large, {np.median(wider):.2f} in the median"
    below = sum(one.vault.high < 0 for one in shams)
    return [
        f"sealed documents: {sizes}; strengths are chosen, and retention judged, at {AT_MOST_LOST_BPB} bits per byte",
        f"held-out documents are pieces of {texts.max() + 1} texts; by texts, standard errors would be {spread}",
        f"of {len(shams)} shams {below} have the whole of the vault's interval of 95 % below 0",
    ]


def clustering(saved: Differences, texts: np.ndarray) -> float:
    """How much larger the standard error of the mean is with texts as its unit than with their pieces."""
    off = saved - saved.mean()
    return sqrt(float((np.bincount(texts, weights=off) ** 2).sum() / (off**2).sum()))
