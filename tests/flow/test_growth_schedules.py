"""Growth schedules: grafts a round may stand one or several, fade in, and be refined; the ledger says which and why."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import saint
from saint import config, records
from saint.candidates import refined_sites
from saint.composition import logits_digest
from saint.data import Splits
from saint.errors import BudgetError, ConfigError, Interrupted
from saint.growth import Plan, Stage, open_data, start
from saint.growth._journal import Journal
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.records import Evidence, Outcome
from saint.registry import Registry, State, verify
from saint.report import entry_lines, report_parts, status_lines, summarise, to_html
from workshop import Workshop, build_workshop

QUICK = ("controls.after=never", "gates.gain.at_least_bpb=-1.0", "gates.retention.at_most_bpb=9.0", "seed=3")
SITEWISE = 'proposals=[{kind="lora", options={rank=1}, roles=["q", "up", "down"], lr=0.02}]'
STAGED = ("stages=[{rounds=1, accept=2, finalists_per_round=3}]", SITEWISE, *QUICK)
WIDE = '{name="wide", rounds=1, proposals=[{kind="block", options={width=2}, bundle="site", lr=0.02}]}'
LORA, HEAD = '{kind="lora", options={rank=1}, bundle="site", lr=0.02}', '{kind="phi", options={rank=2}, roles=["head"]}'
FINE = (
    '{name="fine", rounds=2, sites="refined", schedule={num_steps=4, batch_size=2}, candidates_per_round=2, '
    f"proposals=[{LORA}, {HEAD}]}}"
)
REFINED = (f"stages=[{WIDE}, {FINE}]", *QUICK)


@dataclass
class Growing:
    registry: Registry
    base: FrozenBase
    data: Splits
    plan: Plan

    def grow(self, progress: Progress | None = None) -> State:
        saint.grow(self.base, self.data, self.plan, self.registry, progress=progress)
        return self.registry.state


def begin(workshop: Workshop, *overrides: str) -> Growing:
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=overrides)
    registry = start(workshop.registry, base, plan, root=workshop.root)
    return Growing(registry, base, open_data(registry, plan, base), plan)


def accepted_per_round(state: State) -> dict[int | None, int]:
    counts: dict[int | None, int] = defaultdict(int)
    for entry in state.judged:
        counts[entry.round] += entry.decision.outcome is Outcome.ACCEPT
    return counts


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    one = begin(build_workshop(tmp_path_factory.mktemp("staged")), *STAGED)
    one.grow()
    return one


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    one = begin(build_workshop(tmp_path_factory.mktemp("refined")), *REFINED)
    one.grow()
    return one


def test_several_of_a_round_stand_each_judged_on_what_stood_below_it(staged: Growing) -> None:
    state = staged.registry.state
    assert dict(accepted_per_round(state)) == {0: 2}
    first, second = staged.registry.accepted()
    assert first.evidence.stack == ()
    assert second.evidence.stack == (first.digest,)
    assert len(state.trained) == 3, "measured again, not trained again"
    twice = [entry for entry in state.judged if entry.candidate == second.candidate]
    assert [entry.status for entry in twice] == ["deferred", "stands"]
    assert [len(entry.evidence.stack) for entry in twice] == [0, 1]
    assert "measured again on top of it" in twice[0].decision.verdicts[-1].reason
    assert verify(staged.registry).problems == ()
    model = saint.compose(staged.base, saint.restore(staged.registry))
    assert logits_digest(model) == second.evidence.logits


def test_a_graft_that_was_judged_twice_is_shown_once(staged: Growing) -> None:
    second = staged.registry.accepted()[1]
    assert staged.registry.entry(second.digest[:12]).status == "stands"
    summary = summarise(staged.registry)
    again = [graft["judged_again"] for graft in summary["judged"] if graft["where"] == summary["stack"][1]["where"]]
    assert again == [True, False]
    assert [graft["stage"] for graft in summary["stack"]] == ["1", "1"]
    assert summary["outcomes"]["stands"] == 2
    assert sum(summary["outcomes"].values()) == 3
    assert to_html(summary)
    assert report_parts(summary)


@pytest.mark.slow
def test_a_staged_round_that_was_killed_goes_on_to_the_same_end(
    staged: Growing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once so many entries are there every further write fails, as in a process that is gone.

    It dies after each entry of its judging, before the curve's point, and before the round ends. A query whose answer
    was lost counts, so there are more of them then, also of one idea; all else is the same.
    """
    patient = (*STAGED, "judging.at_most_retries=9")
    killed, through = begin(build_workshop(tmp_path), *patient), staged.registry.state
    append = killed.registry.ledger.append
    names = [event.name for event in staged.registry.ledger]
    first, last = names.index("queried"), names.index("round_closed")
    assert set(names[first:last]) == {"queried", "judged", "curve_measured"}
    for num_entries in range(first + 1, last + 1, 2):

        def dying(*args: object, num_entries: int = num_entries, **kwargs: object) -> object:
            if len(killed.registry.ledger.events()) >= num_entries:
                raise Interrupted("killed")
            return append(*args, **kwargs)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(killed.registry.ledger, "append", dying)
            with pytest.raises(Interrupted):
                killed.grow()
        assert len(killed.registry.ledger.events()) == num_entries
    left = [killed.registry.work / "checkpoints" / f"{name[:32]}.safetensors" for name in through.trained]
    for file in left:
        file.write_bytes(b"of a process that died between its entry and this")
    state = killed.grow()
    assert not any(file.exists() for file in left)
    assert [event.name for event in killed.registry.ledger if event.name != "queried"] == [
        name for name in names if name != "queried"
    ]
    [asked], [asked_through] = state.queries.values(), through.queries.values()
    assert len(asked) > len(asked_through)
    assert [one.query.number for one in asked] == list(range(1, len(asked) + 1))
    assert [(entry.digest, _without_canaries(entry.evidence)) for entry in state.judged] == [
        (entry.digest, _without_canaries(entry.evidence)) for entry in through.judged
    ]
    assert state.standing == through.standing


def _without_canaries(evidence: Evidence) -> Evidence:
    """Two preparations of one text have different canaries."""
    return replace(evidence, canary_p=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "most"), [("num_params", 100), ("num_bytes", 900), ("flops_per_token", 200), ("per_layer", 50)]
)
def test_no_more_stand_than_fit_the_budget(workshop: Workshop, limit: str, most: int) -> None:
    state = begin(workshop, *STAGED, f"budget.{limit}={most}").grow()
    assert accepted_per_round(state)[0] == 1
    [cost] = [entry.evidence.cost for entry in state.judged if entry.status == "stands"]
    assert getattr(cost, limit if limit != "per_layer" else "num_params") <= most * (2 if limit == "per_layer" else 1)


def test_one_at_a_time_is_the_default(workshop: Workshop) -> None:
    one = begin(workshop, *STAGED[1:], "rounds=1")
    state = one.grow()
    assert dict(accepted_per_round(state)) == {0: 1}
    waits = [entry.decision.verdicts[-1].reason for entry in state.judged if entry.status == "deferred"]
    assert waits
    assert all("trained again on top of it" in reason for reason in waits)
    assert one.plan.in_full == (
        Stage(rounds=1, proposals=one.plan.proposals, candidates_per_round=3, finalists_per_round=2),
    )


@pytest.mark.slow
@pytest.mark.parametrize("accept", [1, 3])
def test_never_more_stand_than_a_round_may_accept(workshop: Workshop, accept: int) -> None:
    """Though the gates would accept everything, and finalists are left over."""
    one = begin(workshop, f"stages=[{{rounds=2, accept={accept}, finalists_per_round=3}}]", SITEWISE, *QUICK)
    state = one.grow()
    assert set(accepted_per_round(state).values()) <= set(range(accept + 1))
    assert accepted_per_round(state)[0] == accept


@pytest.mark.slow
def test_a_refined_stage_proposes_only_within_what_stands(refined: Growing) -> None:
    state = refined.registry.state
    [wide] = [entry for entry in refined.registry.accepted() if entry.round == 0]
    inside = {site.key for site in refined_sites(refined.base.sites(), [wide.candidate])}
    block = wide.candidate.sites[0].module
    assert inside == {
        f"{block}:block",
        *(s.key for s in refined.base.sites() if s.sort == "linear" and s.module.startswith(f"{block}.")),
    }
    assert [one["stage"] for one in state.rounds.values()] == [0, 1, 1]
    for number in (1, 2):
        proposed = list(state.rounds[number]["candidates"])
        assert len(proposed) == 2, "the head is outside, so the proposal for it gives nothing"
        assert all(len(candidate["sites"]) == 1 for candidate in proposed)
        assert {candidate["sites"][0]["module"] for candidate in proposed} <= inside
        assert state.rounds[number]["sensitivity"]["scores"] != state.rounds[0]["sensitivity"]["scores"]


def test_each_stage_trains_with_its_own_schedule(refined: Growing) -> None:
    state, plan = refined.registry.state, refined.plan
    wide, fine = (plan.schedule_of(stage) for stage in plan.in_full)
    assert fine == replace(plan.schedule, num_steps=4, batch_size=2)
    tokens = {trial["candidate"]["kind"]: trial["train_tokens"] for trial in state.trained.values()}
    assert tokens == {"block": wide.num_tokens, "lora": fine.num_tokens}


def test_the_report_says_which_stage_a_graft_came_from(refined: Growing) -> None:
    summary = summarise(refined.registry)
    assert [graft["stage"] for graft in summary["stack"]] == ["wide", "fine", "fine"]
    assert summary["rounds_planned"] == 3
    assert [(one["name"], one["rounds_done"], one["rounds_planned"], one["skipped"]) for one in summary["stages"]] == [
        ("wide", 1, 1, ""),
        ("fine", 2, 2, ""),
    ]
    lines = [str(part) for part in status_lines(summary)]
    assert any("stage 2 (fine): 2 of 2 rounds" in line for line in lines)
    assert any(str(line).startswith("round    2, stage fine") for line in entry_lines(summary["stack"][1]))
    assert "stage fine" in to_html(summary)


def test_a_refined_stage_without_anything_to_refine_is_skipped_and_says_so(workshop: Workshop) -> None:
    notes: list[str] = []

    class Listens(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    one = begin(workshop, *REFINED, "gates.gain.at_least_bpb=5.0")
    state = one.grow(Listens())
    assert state.skipped == {1: "it refines the sites of grafts that stand, and none stands"}
    assert "stage 2 of 2 (fine) ends here: it refines the sites of grafts that stand, and none stands" in notes
    assert [one["stage"] for one in state.rounds.values()] == [0]
    assert "skipped" in "".join(map(str, status_lines(summarise(one.registry))))
    before = one.registry.ledger.events()
    one.grow()
    assert one.registry.ledger.events() == before


def test_a_stage_that_the_budget_does_not_reach_is_skipped(workshop: Workshop) -> None:
    tokens = 2 * 24 * 4 * 16 + 4 * 2 * 16
    state = begin(workshop, *REFINED, f"budget.train_tokens={tokens}", "candidates_per_round=2").grow()
    assert sum(trial["train_tokens"] for trial in state.trained.values()) == tokens
    assert state.skipped == {1: "one candidate learns from 128 tokens, and the budget has 0 left"}


def test_a_budget_for_no_candidate_at_all_is_refused(workshop: Workshop) -> None:
    with pytest.raises(BudgetError, match="one candidate learns from 1,536 tokens"):
        begin(workshop, *REFINED, "budget.train_tokens=500").grow()


def test_what_may_be_forgotten_is_split_over_all_rounds_of_all_stages(workshop: Workshop) -> None:
    one = begin(workshop, *REFINED, "gates.retention.at_most_bpb=0.9", "stages=[{rounds=1, accept=2}, {rounds=2}]")
    journal = Journal(one.registry, one.base, one.data, one.plan, Silent())
    allowed = []
    for number, stage in enumerate((0, 1, 1)):
        one.registry.write("round_opened", {"round": number, "stage": stage, "stack": [], "candidates": []})
        allowed += [
            journal.settings.strength(number)["at_most_bpb"],
            journal.settings.strength(number, whole_round=True)["at_most_bpb"],
        ]
    assert [one["code"] for one in allowed] == pytest.approx([0.15, 0.3, 0.6, 0.6, 0.9, 0.9])


@pytest.mark.slow
def test_a_faded_stage_goes_through(workshop: Workshop) -> None:
    one = begin(workshop, *QUICK, "stages=[{rounds=1, schedule={fade_in=0.5}}]")
    assert one.plan.schedule_of(one.plan.in_full[0]).fade_in == 0.5
    state = one.grow()
    assert state.standing
    assert one.plan.schedule.fade_in == 0.0


@pytest.mark.slow
def test_controls_get_no_fewer_tokens_than_stages_of_other_schedules(workshop: Workshop) -> None:
    odd = "stages=[{rounds=1}, {rounds=1, schedule={num_steps=3, batch_size=3, fade_in=0.4}}]"
    one = begin(workshop, *QUICK, odd, "controls.after=last round", "candidates_per_round=1", "finalists_per_round=1")
    state = one.grow()
    stack = sum(entry.evidence.cost.train_tokens for entry in one.registry.accepted())
    assert stack % one.plan.schedule.tokens_per_step, "the stages' tokens are no whole number of the plan's steps"
    for control in state.controls:
        assert 0 <= control["scheduled_tokens"] - stack < one.plan.schedule.tokens_per_step


def test_what_repeats_the_stack_is_not_asked_about(workshop: Workshop) -> None:
    """After a LoRA of the whole rank of the queries, one of rank 1 there lies within what the stack spans."""
    proposals = 'proposals=[{{kind="lora", options={{rank={}}}, roles=["{}"], bundle="{}", lr=0.02}}]'.format
    first, second = proposals(16, "q", "role"), proposals(1, "q", "role")
    stages = f"stages=[{{rounds=1, {first}}}, {{rounds=1, at_most_inside=0.9, {second}}}]"
    one = begin(workshop, *QUICK, stages)
    state = one.grow()
    whole, thin = state.trained.values()
    assert whole["overlap"] is None, "nothing stood yet"
    assert thin["overlap"] == pytest.approx({"inputs": 1, "outputs": 1, "inside": 1})
    assert [entry.round for entry in state.judged] == [0]
    assert [trial["graft"] for trial in summarise(one.registry)["not_asked"]] == [thin["graft"]]
    assert "100% of it lies within what the stack spanned" in to_html(summarise(one.registry))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages=[{accept=3}]", "stages\\[0\\]: accept is 3"),
        ("stages=[{accept=0}]", "accept is 0"),
        ("stages=[{rounds=-1}]", "rounds is -1"),
        ("stages=[{at_most_inside=2.0}]", "at_most_inside"),
        ("stages=[{schedule={num_stepz=3}}]", "num_steps"),
        ('stages=[{proposals=[{kind="lora", options={complement=true, rank=1}}]}]', "complement"),
        ('stages=[{sites="fine"}]', "refined"),
        ("proposals=[]", "proposals is empty"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(workshop: Workshop, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begin(workshop, override)
    assert not workshop.registry.exists()


@pytest.mark.slow
def test_a_ledger_from_before_there_were_stages_goes_on(workshop: Workshop) -> None:
    """Its plan has no stages, its rounds name none, and its trials are known by schedules without a fade."""
    one = begin(workshop, *QUICK, "rounds=1", "candidates_per_round=1", "finalists_per_round=1")
    plain = records.to_plain(one.plan)
    for key in ("stages", "search", "routing"):
        del plain[key]
    for key in ("fade_in", "shift", "accumulate", "recompute", "autocast", "signal_tokens"):
        del plain["schedule"][key]
    assert config.build(plain, Plan, where="an old ledger") == one.plan
    state = one.grow()
    [(name, trial)] = state.trained.items()
    assert name == records.digest(
        {
            "candidate": trial["candidate"],
            "stack": trial["stack"],
            "schedule": plain["schedule"],
            "text": one.data.train.digest,
            "base": one.base.digest,
        }
    )
    old = [{key: value for key, value in opened.items() if key != "stage"} for opened in state.rounds.values()]
    from saint.growth._stages import next_stage, stage_of

    before = State(rounds=dict(enumerate(old)))
    assert stage_of(one.plan, before, 0) == 0
    assert next_stage(one.plan, before) is None
