"""Searches that learn from a hold-out's answers: 500 harmful candidates each, by three rules."""

from math import sqrt

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.rules import RULES, SPREAD, Rule
from benchmarks.gates.setting import Setting
from saint.report._svg import Point, Series, chart
from saint.report._written import Picture, write_picture

NUM_DOCUMENTS = 2000
HARM = 0.001
"""What every candidate costs in truth: a hundredth of the spread of one document."""
_NUM_CANDIDATES, _NUM_SHOWN = 500, (1, 2, 5, 10, 20, 50, 100, 200, 500)
_KEPT = sqrt(0.5)  # of what the last accepted candidate does to the sealed documents


def measure(setting: Setting) -> Findings:
    """False acceptances by each rule: every acceptance is one."""
    found = Findings(
        setting=setting,
        heads=("accept if", "false acceptances a search", "searches with one", "hold-out claims", "truth"),
    )
    num, num_candidates = setting.num(100, 2), _NUM_CANDIDATES if setting.size == "full" else 20
    curves = {}
    for name, rule in RULES.items():
        runs = [_search(rule, setting.random("adaptive", run), num_candidates) for run in range(num)]
        accepted = np.array([run[0] for run in runs])
        curves[name] = accepted.cumsum(1).mean(0)
        each = accepted.sum(1)
        claimed = sum(run[1] for run in runs) / num
        found.rows.append(
            (name, f"{each.mean():.1f}", f"{(each > 0).sum()}", f"{claimed:+.3f}", f"{-HARM * each.mean():+.3f}")
        )
        if name == "the gate":
            found.ask("adaptive_false_acceptances", float(each.sum()), 0)
    found.notes.append(
        f"{num} searches of {num_candidates} candidates that all cost {HARM} where one document's spread is {SPREAD}; "
        f"one hold-out of {NUM_DOCUMENTS:,} documents for each search; a candidate is bred from the last accepted one"
    )
    if setting.work:
        write_picture(setting.work / "false-acceptances.svg", _picture(curves))
    return found


def _search(rule: Rule, random: np.random.Generator, num_candidates: int) -> tuple[list[bool], float]:
    """Which candidates were accepted, and what the hold-out says that they save together.

    What a candidate does to a document is its harm and noise. Half of the noise's variance is that of the candidate
    which was accepted last, as it is when a search changes what has worked: so luck on these documents is inherited.
    """
    parent: np.ndarray | None = None
    accepted: list[bool] = []
    claimed = 0.0
    for number in range(1, num_candidates + 1):
        fresh = random.normal(0, SPREAD, NUM_DOCUMENTS)
        noise = fresh if parent is None else _KEPT * parent + sqrt(1 - _KEPT**2) * fresh
        accepted.append(rule(noise - HARM, number, sum(accepted)))
        if accepted[-1]:
            parent = noise
            claimed += float(noise.mean()) - HARM
    return accepted, claimed


def _picture(curves: dict[str, np.ndarray]) -> Picture:
    series = [
        Series(
            name,
            [
                Point(shown, float(curve[shown - 1]), f"{shown} candidates, {curve[shown - 1]:.2f} accepted")
                for shown in _NUM_SHOWN
                if shown <= len(curve)
            ],
        )
        for name, curve in curves.items()
    ]
    svg = chart(series, x_label="harmful candidates tried", y_label="accepted all the same", log_x=True)
    return Picture(svg, [(f"c{index}", one.name) for index, one in enumerate(series)])
