"""Growth beside grafts that were trained elsewhere: what can be refined then, and what controls can be given."""

import pytest
from rich.console import Console

import saint
from saint import config
from saint.adapters import export_graft
from saint.composition import newborn
from saint.data import Splits
from saint.evaluation import Losses
from saint.growth import Plan, Submission, grow, open_data, start, submit
from saint.growth._controls import train_controls
from saint.growth._journal import Journal
from saint.growth._result import measure_result
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Candidate
from saint.registry import Registry, verify
from saint.report import log_table, report_parts, summarise, to_html
from small_bases import moved
from workshop import Workshop

EASY = ("gates.gain.at_least_bpb=-1.0", "gates.retention.at_most_bpb=9.0", "gates.cost.at_most_params=100000")
FINE = (
    '{name="fine", rounds=1, sites="refined", candidates_per_round=1, finalists_per_round=1, '
    'proposals=[{kind="lora", options={rank=2}, bundle="site", lr=0.02}]}'
)
WIDE = (
    '{name="wide", rounds=1, candidates_per_round=1, finalists_per_round=1, '
    'proposals=[{kind="block", options={width=2}, bundle="site", lr=0.02}]}'
)
NONE_STANDS = "it refines the sites of grafts that stand, and none stands"
UNKNOWN = "what submitted grafts learnt from is not known, so no control can be given as many tokens"


class Garden:
    """A registry with all that growing in it needs."""

    def __init__(self, workshop: Workshop, *overrides: str) -> None:
        self.workshop = workshop
        self.base: FrozenBase = saint.freeze(workshop.base)
        self.plan = config.load(workshop.plan, Plan, overrides=(*EASY, *overrides))
        self.registry: Registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data: Splits = open_data(self.registry, self.plan, self.base)

    def submit(self) -> str:
        """A graft at one linear map comes from elsewhere and stands; its digest."""
        site = next(site for site in self.base.sites() if site.sort == "linear")
        graft = moved(newborn(self.base, Candidate(sites=(site,), kind="lora", options={"rank": 1})))
        graft.set_strength(0.01)
        export_graft(self.base, [graft], self.workshop.root / "adapter")
        submission = Submission(folder=self.workshop.root / "adapter")
        entry = submit(self.base, self.data, self.plan, self.registry, submission)
        assert entry.status == "stands"
        return entry.digest

    def grow(self) -> None:
        grow(self.base, self.data, self.plan, self.registry)

    def names(self) -> list[str]:
        """What the ledger's entries are called, in order."""
        return [event.name for event in self.registry.ledger]

    def told(self) -> str:
        """All that people are shown in a terminal."""
        console = Console(width=400)
        with console.capture() as capture:
            for part in (*report_parts(summarise(self.registry)), log_table(self.registry.ledger)):
                console.print(part)
        return capture.get()


@pytest.mark.slow
def test_a_stage_with_nothing_to_refine_goes_on_once_a_submission_stands(workshop: Workshop) -> None:
    garden = Garden(workshop, f"stages=[{FINE}]", "controls.after=never")
    garden.grow()
    assert garden.names() == ["created", "policy_set", "stage_skipped"]
    assert garden.registry.state.skipped == {0: NONE_STANDS}
    submitted = garden.submit()
    garden.grow()
    assert garden.names()[6:10] == ["stage_resumed", "round_opened", "curve_measured", "trained"]
    state = garden.registry.state
    assert state.skipped == {}
    assert state.standing[0] == submitted
    assert state.rounds[0]["closed"]
    assert state.measured
    before = garden.names()
    garden.grow()
    assert garden.names() == before
    assert verify(garden.registry).problems == ()


def test_a_stage_with_nothing_to_refine_goes_on_after_a_later_stage(workshop: Workshop) -> None:
    garden = Garden(workshop, f"stages=[{FINE}, {WIDE}]", "controls.after=never")
    garden.grow()
    kept = [name for name in garden.names() if name.startswith(("stage", "round_opened"))]
    assert kept == ["stage_skipped", "round_opened", "stage_resumed", "round_opened"]
    assert [one["stage"] for one in garden.registry.state.rounds.values()] == [1, 0]
    assert summarise(garden.registry)["stages"][0]["skipped"] == ""


def test_a_stage_that_lacks_something_else_now_says_that(workshop: Workshop) -> None:
    """The first stage could be refined in the end, and by then its tokens are spent."""
    tokens = 24 * 4 * 16
    garden = Garden(workshop, f"stages=[{FINE}, {WIDE}]", "controls.after=never", f"budget.train_tokens={tokens}")
    garden.grow()
    assert garden.registry.state.skipped == {0: "one candidate learns from 1,536 tokens, and the budget has 0 left"}
    assert garden.names().count("stage_skipped") == 2
    assert "stage_resumed" not in garden.names()


def test_submissions_alone_get_no_controls_and_the_report_says_why(workshop: Workshop) -> None:
    """No round was ever opened, and no token was learnt from here."""
    garden = Garden(workshop)
    submitted = garden.submit()
    journal = Journal(garden.registry, garden.base, garden.data, garden.plan, Silent())
    losses = Losses(seq_len=garden.plan.evaluation_seq_len)
    for _ in range(2):  # what is left out once stays so
        train_controls(journal, losses, None)
    measure_result(journal, losses)
    assert garden.names()[5:] == ["controls_left_out", "vault_opened", "measured"]
    state = garden.registry.state
    assert state.controls == []
    [left_out] = state.controls_left_out
    assert left_out["stack"] == [submitted]
    assert left_out["reason"].startswith(UNKNOWN)
    assert [(arm["name"], arm["train_tokens"]) for arm in state.measured[0]["arms"]] == [("grafts", 0)]
    page = to_html(summarise(garden.registry))
    for text in (garden.told(), page):
        assert UNKNOWN in text
        assert "as many tokens as the grafts" not in text
        assert "controls were given" not in text
    assert "unknown" in page


@pytest.mark.slow
def test_beside_submissions_controls_get_the_tokens_that_are_known(workshop: Workshop) -> None:
    garden = Garden(workshop, f"stages=[{WIDE}]", "controls.after=last round")
    submitted = garden.submit()
    garden.grow()
    state = garden.registry.state
    assert len(state.standing) == 2
    known = sum(entry.evidence.cost.train_tokens for entry in garden.registry.accepted())
    assert known > 0
    assert {control["name"]: control["scheduled_tokens"] for control in state.controls} == {
        "lora": known,
        "full": known,
    }
    assert all(control["submitted"] == [submitted] for control in state.controls)
    assert state.controls_left_out == []
    assert state.measured[0]["submitted"] == [submitted]
    for text in (garden.told(), to_html(summarise(garden.registry))):
        assert f"{known:,}, others unknown" in text
        assert "what the submitted ones learnt from is not known, so the tokens are not equal" in text
