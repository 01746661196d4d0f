"""What the ledger says, for people: every figure with its interval, every refusal with its reason, nothing loaded."""

import hashlib
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from typing_extensions import override

from made_up_text import GATES, Text, Weights, evidence
from saint.candidates import Proposal
from saint.data import DataPlan, Domain, save_splits
from saint.growth import Plan, start
from saint.judging import Judging, Policy, RiskClass, judge, set_policy
from saint.records import (
    Arm,
    Budget,
    Candidate,
    Decision,
    Interaction,
    Interval,
    Outcome,
    SafetyMeasure,
    SensitivityMap,
    Spread,
    Verdict,
)
from saint.registry import Registry
from saint.report import (
    Figure,
    arms_table,
    entry_lines,
    judged_table,
    log_table,
    report_parts,
    status_lines,
    summarise,
    to_html,
)
from saint.testing import an_evidence, tiny_base, tiny_splits
from saint.training import Schedule

MARKUP = '<blink>&amp; "worse" on [red]code[/blue] :rose:'
"""What somebody may write as a reason; it must be shown, not obeyed."""


class Cutting:
    """All that the registry needs to know of a graft."""

    def __init__(self, name: str) -> None:
        self.name = name

    def to_bytes(self) -> bytes:
        return f"weights of {self.name}".encode()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


ROSE, LILY, FERN = Cutting("rose"), Cutting("lily"), Cutting("fern")


def judged(registry: Registry, graft: Cutting, outcome: str = "accept", **changes: Any) -> str:
    state = registry.state
    evidence = an_evidence(graft=graft.digest, stack=tuple(state.standing), base=state.base or "0" * 64, **changes)
    verdicts = (
        Verdict(gate="gain", outcome=Outcome.ACCEPT, reason=f"the gain of {graft.name} is enough"),
        Verdict(gate="retention", outcome=Outcome(outcome), reason=f"what {graft.name} forgets <&> decides"),
    )
    return registry.record(graft, evidence, Decision(verdicts=verdicts), round_number=0)


@pytest.fixture(scope="module")
def seedbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that was started and has not grown yet."""
    root = tmp_path_factory.mktemp("report")
    domains = {"code": Domain(role="retain", sources=("*.py",)), "prose": Domain(role="grow", sources=("topics",))}
    save_splits(tiny_splits(), root / "text", plan=DataPlan(domains=domains))
    plan = Plan(
        name="meadow <1>",
        data=DataPlan(prepared="text"),
        budget=Budget(num_params=1000, train_tokens=100_000),
        proposals=(Proposal(kind="phi", options={"rank": 2}),),
        gates={
            "gain": {"at_least_bpb": 0.05, "at_most_heavy": 0.5},
            "retention": {"at_most_bpb": 0.25, "at_most_heavy": 0.5},
        },
        schedule=Schedule(num_steps=2, batch_size=2, seq_len=16),
    )
    return start(root / "garden", tiny_base(), plan, root=root).folder


@pytest.fixture
def registry(seedbed: Path, tmp_path: Path) -> Registry:
    return Registry.open(shutil.copytree(seedbed, tmp_path / "garden"))


@pytest.fixture
def grown(registry: Registry) -> Registry:
    """One graft stands, one was rolled back, one was rejected."""
    judged(registry, ROSE)
    judged(registry, LILY)
    judged(registry, FERN, "reject")
    registry.rollback(LILY.digest, reason=MARKUP)
    return registry


def interval(estimate: float) -> Interval:
    return Interval(
        estimate=estimate, low=estimate - 0.01, high=estimate + 0.01, standard_error=0.005, num_documents=20
    )


def open_vault(registry: Registry, *names: str) -> None:
    arms = [
        Arm(
            name=name,
            num_params=100 + number,
            train_tokens=500,
            gain_bpb=interval(0.3 - number / 10),
            regression_bpb={"code": interval(0.1)},
        )
        for number, name in enumerate(names)
    ]
    body = {"split": "vault", "documents": {}, "stack": registry.state.standing, "grown_domain": "prose", "arms": arms}
    registry.write("vault_opened", {"split": "vault"})
    registry.write("measured", body)


def open_round(registry: Registry) -> None:
    sites = tiny_base().sites()
    scores = {site.key: 1.0 for site in sites}
    sensitivity = SensitivityMap(method="gradient", scores=scores)
    registry.write("round_opened", {"round": 0, "stack": [], "sensitivity": sensitivity, "candidates": []})


class Page(HTMLParser):
    """A page as a browser takes it in: its tags, what they load, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.style = ""
        self._within: list[str] = []
        self.feed(html)
        self.close()
        assert not self._within, f"never closed: {self._within}"

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "img", "link", "input"):
            self._within.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._within.pop()

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if "style" in self._within:
            self.style += data
        else:
            self.words += data


def page(registry: Registry) -> Page:
    return Page(to_html(summarise(registry)))


def printed(*parts: RenderableType) -> str:
    console = Console(file=StringIO(), width=400, color_system=None)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure(name="gain_bpb", value=0.25, target=0.2, sense="at_least"), "FIGURE gain_bpb 0.25 >=0.2 ok"),
        (Figure(name="gain_bpb", value=0.15, target=0.2, sense="at_least"), "FIGURE gain_bpb 0.15 >=0.2 short"),
        (Figure(name="loss_bpb", value=0.15, target=0.2, sense="at_most"), "FIGURE loss_bpb 0.15 <=0.2 ok"),
        (Figure(name="loss_bpb", value=0.25, target=0.2, sense="at_most"), "FIGURE loss_bpb 0.25 <=0.2 short"),
        (Figure(name="even", value=0.2, target=0.2, sense="at_least"), "FIGURE even 0.2 >=0.2 ok"),
        (Figure(name="even", value=0.2, target=0.2, sense="at_most"), "FIGURE even 0.2 <=0.2 ok"),
        (Figure(name="tokens", value=1234567.0, target=2e6, sense="at_most"), "FIGURE tokens 1.23457e+06 <=2e+06 ok"),
    ],
)
def test_a_figure_is_one_line_with_what_was_asked(figure: Figure, line: str) -> None:
    assert str(figure) == line
    assert figure.ok == line.endswith(" ok")


def test_what_was_not_measured_is_short_of_any_target() -> None:
    for sense in ("at_least", "at_most"):
        assert not Figure(name="gain", value=float("nan"), target=0.0, sense=sense).ok  # type: ignore[arg-type]


def test_the_summary_says_what_stands_and_what_became_of_the_rest(grown: Registry) -> None:
    summary = summarise(grown)
    assert [graft["digest"] for graft in summary["stack"]] == [ROSE.digest]
    assert summary["outcomes"] == {"stands": 1, "rolled back": 1, "rejected": 1}
    assert [graft["digest"] for graft in summary["judged"]] == [ROSE.digest, LILY.digest, FERN.digest]
    assert summary["judged"][1]["rollback_reason"] == MARKUP
    assert summary["judged"][2]["verdicts"][1]["outcome"] == "reject"
    assert (summary["name"], summary["grown_domain"]) == ("meadow <1>", "prose")
    assert summary["head"] == grown.ledger.events()[-1].digest
    assert summary["cost"]["num_params"] == summary["stack"][0]["cost"]["num_params"] == 16
    assert not summary["finished"]


def test_only_the_standing_grafts_cost_parameters_but_every_trial_cost_tokens(grown: Registry) -> None:
    for number, failure in enumerate(["", "the loss is not a number"]):
        trial = {"trial": str(number), "candidate": an_evidence().candidate, "train_tokens": 700, "stack": []}
        grown.write("trained", trial | {"graft": "" if failure else ROSE.digest, "failure": failure})
    summary = summarise(grown)
    assert summary["cost"]["search_tokens"] == 1400
    assert summary["cost"]["stack_tokens"] == 1000
    assert [trial["failure"] for trial in summary["failed"]] == ["the loss is not a number"]
    assert "the loss is not a number" in page(grown).words


def test_what_was_trained_but_never_judged_is_not_forgotten(grown: Registry) -> None:
    other = Candidate(sites=an_evidence().candidate.sites, kind="lora", options={"rank": 1})
    grown.write("trained", {"trial": "t", "candidate": other, "train_tokens": 700, "stack": [], "graft": "5" * 64})
    assert [trial["graft"] for trial in summarise(grown)["not_asked"]] == ["5" * 64]
    assert "lora at 1 sites was trained, but was not among the finalists" in page(grown).words
    assert "not among the finalists" in printed(*report_parts(summarise(grown)))


def test_the_page_loads_nothing_and_runs_nothing(grown: Registry) -> None:
    open_round(grown)
    open_vault(grown, "grafts", "lora", "full")
    found = page(grown)
    assert found.loads == []
    assert found.handlers == []
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    assert "url(" not in found.style
    assert "@import" not in found.style
    assert found.tags.count("svg") >= 3


def test_the_page_shows_each_graft_with_the_reasons_of_its_gates(grown: Registry) -> None:
    words = page(grown).words
    for graft in (ROSE, LILY, FERN):
        assert graft.digest[:12] in words
        assert f"the gain of {graft.name} is enough" in words
        assert f"what {graft.name} forgets <&> decides" in words


def test_the_page_shows_markup_as_it_was_written(grown: Registry) -> None:
    found = page(grown)
    assert f"Rolled back: {MARKUP}" in found.words
    assert "blink" not in found.tags
    assert "meadow <1>" in found.words


def test_pictures_show_markup_as_it_was_written(registry: Registry) -> None:
    drift = {"<blink>&code": interval(0.1)}
    judged(registry, ROSE, drift_bpb=drift, regression_bpb=drift)
    found = page(registry)
    assert "1. phi: <blink>&code" in found.words
    assert "blink" not in found.tags


def test_the_page_says_that_the_vault_is_closed_until_it_was_opened(grown: Registry) -> None:
    assert "The vault is closed" in page(grown).words
    assert "the vault is closed" in printed(*report_parts(summarise(grown)))
    open_vault(grown, "grafts", "lora")
    assert "The vault is closed" not in page(grown).words
    assert "Growth is finished." in page(grown).words
    assert "the vault is closed" not in printed(*report_parts(summarise(grown)))


def test_the_result_stands_beside_its_controls_with_intervals(grown: Registry) -> None:
    open_vault(grown, "grafts", "lora", "full")
    words = page(grown).words
    for text in (words, printed(arms_table(summarise(grown)["result"]))):
        assert "+0.3000 [+0.2900, +0.3100]" in text
        assert "+0.2000 [+0.1900, +0.2100]" in text
        assert "LoRA at every linear site" in text
        assert "full fine-tuning" in text
    assert "No controls were trained" not in words


def test_a_result_without_controls_says_so(grown: Registry) -> None:
    open_vault(grown, "grafts")
    assert "No control came to its end" in page(grown).words
    assert "no control came to its end" in printed(*report_parts(summarise(grown)))


def test_a_vault_that_was_opened_again_is_told_of(grown: Registry) -> None:
    open_vault(grown, "grafts")
    open_vault(grown, "grafts")
    assert "2 times in all" in page(grown).words


def test_the_policys_limits_are_drawn(grown: Registry) -> None:
    words = page(grown).words
    assert "+0.05 asked by the policy" in words
    assert "+0.25 allowed by the policy" in words


def test_a_registry_in_which_nothing_happened_has_a_page(registry: Registry) -> None:
    words = page(registry).words
    assert "Nothing was judged yet." in words
    assert "Everything that was tried stands." in words


def test_grafts_recorded_by_hand_without_a_plan_are_reported_too(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "by hand")
    for step in ("nothing yet", "one graft"):
        if step == "one graft":
            judged(registry, ROSE)
        printed(*report_parts(summarise(registry)))
        page(registry)
    assert ROSE.digest[:12] in page(registry).words
    assert "growth  by hand" in printed(*status_lines(summarise(registry)))


def test_status_says_where_growth_has_come_to(grown: Registry) -> None:
    said = printed(*status_lines(summarise(grown)))
    assert "0 of 2 rounds" in said
    assert "1 grafts, 16 parameters, 512 bytes" in said
    assert "1 stands, 1 rolled back, 1 rejected" in said
    assert ROSE.digest[:12] in said
    assert FERN.digest[:12] not in said


def test_a_graft_above_a_rolled_back_one_is_shown_as_unvalidated(registry: Registry) -> None:
    judged(registry, ROSE)
    judged(registry, LILY)
    registry.rollback(ROSE.digest, reason="worse on code")
    assert "unvalidated" in printed(*status_lines(summarise(registry)))
    assert "unvalidated: what it was judged on has changed" in page(registry).words


def test_all_about_one_graft(grown: Registry) -> None:
    rolled_back: Mapping[str, Any] = summarise(grown)["judged"][1]
    said = printed(*entry_lines(rolled_back))
    assert LILY.digest in said
    assert f"reason   {MARKUP}" in said
    assert "on a stack of 1" in said
    assert "gain     +0.2000 [+0.1800, +0.2200] bits per byte, 50 documents" in said
    assert "what lily forgets <&> decides" in said


def test_what_a_graft_leaves_its_mark_on_is_shown(registry: Registry) -> None:
    judged(registry, ROSE, interactions=())
    gain = an_evidence().gain_bpb
    judged(registry, LILY, interactions=(Interaction(graft=ROSE.digest, gain_bpb={"code": gain}, angle=0.25),))
    judged(registry, FERN, interactions=None, footprint=None)
    rose, lily, fern = (printed(*entry_lines(one)) for one in summarise(registry)["judged"])
    assert "changes  weights by 0.0001 of their energy, at effective rank 2.50" in rose
    assert "code     KL 0.01 nats per token; saved per token: word start -0.0100; by eighth of a window +0.0000" in rose
    assert "beside" not in rose
    beyond = "code +0.2000 [+0.1800, +0.2200] beyond the sum of both, largest cosine 0.250"
    assert f"beside   {ROSE.digest[:12]}: {beyond}" in lily
    assert "beside   interactions were not measured" in fern
    assert "changes  a footprint was not measured" in fern


def test_the_page_shows_what_a_graft_leaves_its_mark_on(registry: Registry) -> None:
    judged(registry, ROSE, footprint=None)
    assert "What it changes" not in page(registry).words
    gain = an_evidence().gain_bpb
    rise = SafetyMeasure(
        sort="violations",
        rise=interval(0.03),
        after=0.125,
        rate=interval(0.125),
        spread=Spread(mean=-0.03, deviation=0.2, num_documents=40),
    )
    together = (Interaction(graft=ROSE.digest, gain_bpb={"code": gain}, angle=0.25),)
    marks: dict[str, Any] = {"safety": {"insults": rise}, "unmeasured": {"<blink>": "its judge failed"}}
    judged(registry, LILY, interactions=together, **marks)
    found = page(registry)
    assert "What it changes" in found.words
    for said in (
        "Footprint on development text: changes weights by 0.0001 of their energy, at effective rank 2.50",
        "other +0.1000, word start +0.3000",
        "+0.2000 [+0.1800, +0.2200]",
        "0.250",
        "+0.0300 [+0.0200, +0.0400]",
        "insults",
        "violations",
        "+0.1250",
        "<blink>",
        "its judge failed",
    ):
        assert said in found.words, said
    assert "blink" not in found.tags
    assert "insults  violations, rises by +0.0300" in printed(*entry_lines(summarise(registry)["judged"][1]))


def test_a_graft_that_waits_for_approval_has_a_page(tmp_path: Path) -> None:
    made = Registry.open(tmp_path / "by hand")
    set_policy(made, Policy(gates=GATES, judging=Judging(approval=(RiskClass(name="all"),))), reason="people agree")
    made.record(Weights(), evidence(), judge(made, evidence(), Text()))
    assert "waits for approval" in page(made).words


def test_a_suite_that_was_not_measured_is_not_shown_as_zero(registry: Registry) -> None:
    judged(registry, ROSE)
    judged(registry, LILY, drift_bpb={}, regression_bpb={})
    said = printed(judged_table(summarise(registry)["judged"], title="Judged"))
    assert "not measured" in said


def test_the_log_has_a_line_for_every_entry(grown: Registry) -> None:
    open_vault(grown, "grafts")
    said = printed(log_table(grown.ledger.events()))
    for event in grown.ledger.events():
        assert event.digest[:12] in said
    assert f"accept: {ROSE.digest[:12]}, phi at 1 sites" in said
    assert f"{LILY.digest[:12]}: {MARKUP}" in said
    assert "vault: 1 arms" in said
