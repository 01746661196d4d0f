"""Growth as a library: what it promises about budgets, splits, records and controls."""

import hashlib
import shutil
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import saint
from saint import config, records
from saint.cli.exporting import export_stack
from saint.composition import newborn
from saint.data import DataPlan, Domain, Splits, open_splits, save_splits
from saint.errors import (
    BaseChangedError,
    BusyError,
    ConfigError,
    DataError,
    Interrupted,
    NotARegistryError,
)
from saint.evaluation import Losses, SuiteValues, holdout_digest
from saint.growth import Plan, open_data, start
from saint.growth._journal import Journal
from saint.growth._judging import Weighed, judge_in_turn, measure
from saint.judging import read_losses
from saint.models import FrozenBase
from saint.progress import Silent, Task
from saint.records import Candidate, Decision, Outcome, Query, Verdict
from saint.registry import Registry, verify
from saint.testing import assert_base_untouched, assert_same_function, tiny_base
from workshop import Workshop, build_workshop


@dataclass
class Grown:
    """A registry that has grown to its end, and what it grew from."""

    registry: Registry
    base: FrozenBase
    data: Splits
    plan: Plan


def begin(workshop: Workshop, *overrides: str) -> Grown:
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=overrides)
    text = workshop.plan.read_text(encoding="utf-8")
    registry = start(workshop.registry, base, plan, root=workshop.root, plan_text=text)
    return Grown(registry, base, open_data(registry, plan, base), plan)


def grow(one: Grown) -> Grown:
    saint.grow(one.base, one.data, one.plan, one.registry)
    return one


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return grow(begin(build_workshop(tmp_path_factory.mktemp("workshop"))))


def test_something_is_accepted_and_something_is_not(grown: Grown) -> None:
    outcomes = [entry.decision.outcome for entry in grown.registry.state.judged]
    assert Outcome.ACCEPT in outcomes
    assert set(outcomes) - {Outcome.ACCEPT}
    assert verify(grown.registry).problems == ()
    assert_base_untouched(grown.base)


def _decision_of(grown: Grown, query: Query) -> Decision:
    return next(entry.decision for entry in grown.registry.state.judged if entry.decision.query == query)


def test_the_budget_is_kept(grown: Grown) -> None:
    state, budget = grown.registry.state, grown.plan.budget
    assert sum(trial["train_tokens"] for trial in state.trained.values()) <= budget.train_tokens
    assert sum(entry.evidence.cost.num_params for entry in grown.registry.accepted()) <= budget.num_params


def test_every_stage_reads_the_text_that_it_may(grown: Grown) -> None:
    data = grown.data
    for entry in grown.registry.state.judged:
        documents = entry.evidence.documents
        assert documents == {name: corpus.digest for name, corpus in data.select.items()}
    for asked in grown.registry.state.queries[holdout_digest(data)]:
        losses = read_losses(grown.registry.payload(_decision_of(grown, asked.query).losses))
        assert {name: one.documents for name, one in losses.items()} == {
            name: corpus.digest for name, corpus in data.sealed.items()
        }
    [measured] = grown.registry.state.measured
    assert measured["documents"] == {name: corpus.digest for name, corpus in data.vault.items()}
    named = [set(corpus.documents) for corpus in data.corpora.values()]
    assert sum(map(len, named)) == len(set().union(*named)), "a document is in two splits"


def test_the_ledger_says_what_decided_everything(grown: Grown) -> None:
    created = grown.registry.state.created
    assert created["plan_digest"] == records.digest(grown.plan)
    assert config.build(created["plan"], Plan, where="ledger") == grown.plan
    assert created["base"]["digest"] == grown.base.digest
    assert created["data"] == grown.data.describe()
    assert {"torch", "transformers", "python", "saint-g"} <= created["versions"].keys()
    [blob] = grown.registry.ledger.events()[0].blobs
    assert grown.registry.payload(blob).decode().startswith('\nname = "tiny"')


def test_every_trial_says_what_it_was_made_with_and_on(grown: Grown) -> None:
    state = grown.registry.state
    for said in (state.created, *(trial["environment"] for trial in state.trained.values())):
        assert said["versions"]["torch"] == torch.__version__
        assert (len(said["code"]), len(said["packages"])) == (64, 64)
        assert said["machine"]["device"] == "cpu"


def test_what_was_grown_is_told_in_every_standard_form(grown: Grown) -> None:
    from saint.exports import annex_iv_markdown, gather, ml_bom, model_card, statements
    from saint.statements import must_be_statement, training_of

    facts = gather(grown.registry)
    made = statements(facts)
    assert len(made) == 1 + 3 * len(facts.standing)
    for one in made:
        must_be_statement(one)
    for entry in facts.standing:
        trial = training_of(entry, facts.state)
        assert trial is not None
        assert trial["candidate"] == records.to_plain(entry.candidate)
        assert all(entry.digest[:12] in text for text in (model_card(facts), annex_iv_markdown(facts)))
    assert ml_bom(facts)["metadata"]["component"]["hashes"][0]["content"] == facts.composition


def test_recomposing_from_the_registry_gives_the_judged_model_to_the_bit(grown: Grown) -> None:
    from saint.composition import logits_digest

    model = saint.compose(grown.base, saint.restore(grown.registry))
    assert logits_digest(model) == grown.registry.accepted()[-1].evidence.logits
    again = saint.compose(grown.base, saint.restore(Registry.open(grown.registry.folder)))
    assert_same_function(again, model)


def test_controls_have_the_tokens_of_the_stack_and_no_fewer_parameters(grown: Grown) -> None:
    accepted = grown.registry.accepted()
    [measured] = grown.registry.state.measured
    arms = {arm["name"]: arm for arm in measured["arms"]}
    assert arms.keys() == {"grafts", "lora", "full", "full, interpolated"}
    assert len({arm["train_tokens"] for arm in arms.values()}) == 1
    assert arms["grafts"]["num_params"] == sum(entry.evidence.cost.num_params for entry in accepted)
    assert arms["lora"]["num_params"] >= arms["grafts"]["num_params"]
    assert arms["full"]["num_params"] == grown.base.num_params


def test_the_report_shows_where_growth_came_to_after_each_round(grown: Grown) -> None:
    from saint.report import summarise, to_html

    summary = summarise(grown.registry)
    assert [one["round"] for one in summary["curve"]] == list(range(len(grown.registry.state.rounds)))
    assert {arm["name"] for arm in summary["curve"][0]["arms"]} >= {"grafts", "lora", "full"}
    page = to_html(summary)
    assert "No round has ended yet" not in page
    assert "full fine-tuning" in page


@pytest.mark.parametrize("form", ["lora", "peft"])
def test_plain_peft_loads_what_was_exported(grown: Grown, tmp_path: Path, form: str) -> None:
    peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")
    warnings.simplefilter("ignore")  # peft's advice about tied embeddings
    export_stack(grown.registry, grown.base, form, tmp_path / form)
    plain = AutoModelForCausalLM.from_pretrained(grown.base.source)
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / form).eval()
    composed = saint.compose(grown.base, saint.restore(grown.registry))
    assert_same_function(adapted, composed, max_abs_difference=1e-4)


def test_plain_transformers_loads_the_merged_model(grown: Grown, tmp_path: Path) -> None:
    record = export_stack(grown.registry, grown.base, "merged", tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    composed = saint.compose(grown.base, saint.restore(grown.registry))
    assert_same_function(plain, composed, max_abs_difference=1e-4)
    assert record["max_abs_logit_difference"] < 1e-4
    assert grown.registry.ledger.events()[-1].body["base"] == saint.freeze(tmp_path / "merged").digest


def test_growing_a_finished_registry_does_nothing(grown: Grown) -> None:
    before = grown.registry.ledger.events()
    grow(grown)
    assert grown.registry.ledger.events() == before


@pytest.mark.slow
def test_a_graft_is_taken_back_without_touching_the_rest(workshop: Workshop) -> None:
    one = grow(begin(workshop, "gates.gain.at_least_bpb=-1.0", "rounds=3", "controls.after=never"))
    accepted = one.registry.accepted()
    assert len(accepted) >= 2
    one.registry.rollback(accepted[0].digest, reason="trying it")
    left = one.registry.accepted()
    assert [entry.digest for entry in left] == [entry.digest for entry in accepted[1:]]
    assert left[0].unvalidated, "it was judged on top of what is gone"
    assert one.registry.payload(accepted[0].digest), "nothing is deleted"
    saint.compose(one.base, saint.restore(one.registry))
    for entry in reversed(left):
        one.registry.rollback(entry.digest, reason="trying it")
    assert_same_function(saint.compose(one.base, saint.restore(one.registry)), one.base.model)


@pytest.mark.slow
def test_the_same_plan_grows_the_same_grafts(workshop: Workshop, tmp_path: Path, grown: Grown) -> None:
    again = grow(begin(replace(workshop)))
    assert [entry.digest for entry in again.registry.state.judged] == [
        entry.digest for entry in grown.registry.state.judged
    ]
    assert tmp_path in again.registry.folder.parents


def test_training_that_runs_away_is_written_down_and_growth_goes_on(workshop: Workshop) -> None:
    plan = workshop.plan.read_text(encoding="utf-8").replace("lr = 0.05", "lr = 1e30", 1)
    workshop.plan.write_text(plan, encoding="utf-8")
    one = grow(begin(workshop, "rounds=1", "controls.after=never"))
    trained = list(one.registry.state.trained.values())
    assert [bool(trial["graft"]) for trial in trained] == [False, True, True]
    assert "lower the learning rate" in trained[0]["failure"]
    assert one.registry.state.judged


@pytest.mark.slow
def test_gates_refuse_everything_when_they_should(workshop: Workshop) -> None:
    one = grow(begin(workshop, "gates.gain.at_least_bpb=5.0"))
    assert one.registry.accepted() == []
    assert {entry.decision.outcome for entry in one.registry.state.judged} == {Outcome.REJECT}
    assert one.registry.state.measured == [], "there is no result, so the vault stays closed"


@pytest.mark.slow
def test_no_graft_larger_than_the_cost_gate_stands(workshop: Workshop) -> None:
    one = grow(begin(workshop, "gates.cost.at_most_params=500", "controls.after=never"))
    assert all(entry.evidence.cost.num_params <= 500 for entry in one.registry.accepted())
    judged = [entry for entry in one.registry.state.judged if entry.evidence.cost.num_params > 500]
    assert judged
    assert {entry.decision.outcome for entry in judged} == {Outcome.REJECT}


@pytest.mark.slow
def test_what_was_rolled_back_is_not_proposed_again(workshop: Workshop) -> None:
    one = begin(workshop, "rounds=1", "controls.after=never")
    one.plan = config.build({**records.to_plain(one.plan), "rounds": 3}, Plan, where="test")
    journal = Journal(one.registry, one.base, one.data, one.plan, Silent())
    grow(one)
    taken_back = one.registry.accepted()[0]
    one.registry.rollback(taken_back.digest, reason="worse on code")
    assert taken_back.candidate in journal.settings.settled()


@pytest.mark.slow
def test_a_trial_that_failed_is_neither_trained_nor_proposed_again(workshop: Workshop) -> None:
    plan = workshop.plan.read_text(encoding="utf-8").replace("lr = 0.05", "lr = 1e30", 1)
    workshop.plan.write_text(plan, encoding="utf-8")
    one = grow(begin(workshop, "gates.gain.at_least_bpb=5.0", "controls.after=never"))
    failures = [event for event in one.registry.ledger if event.body.get("failure")]
    assert len(failures) == 1, "two rounds, one failure"


def test_finalists_are_asked_about_until_one_stands(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    one = begin(workshop)
    journal = Journal(one.registry, one.base, one.data, one.plan, Silent())
    losses, values, weighed = Losses(seq_len=32), SuiteValues(one.data.tokenizer), []
    for rank in (2, 3, 4):
        sites = tuple(site for site in one.base.sites() if site.role == "up")
        graft = newborn(one.base, Candidate(sites=sites, kind="phi", options={"rank": rank}))
        weighed.append(Weighed(1.0 / rank, graft, measure(journal, losses, values, [], graft)))
    answers = iter([Outcome.DEFER, Outcome.ACCEPT])

    def judge(*_args: object) -> Decision:
        return Decision(verdicts=(Verdict(gate="g", outcome=next(answers), reason="1"),))

    monkeypatch.setattr("saint.growth._judging.judge", judge)
    judge_in_turn(journal, losses, values, 0, weighed)
    assert [entry.digest for entry in one.registry.accepted()] == [weighed[1].graft.digest]
    outcomes = {entry.digest: entry.decision for entry in one.registry.state.judged}
    assert len(outcomes) == 3
    [turn] = outcomes[weighed[2].graft.digest].verdicts
    assert (turn.gate, turn.outcome) == ("turn", Outcome.DEFER)


@pytest.mark.slow
def test_controls_are_trained_when_growth_ends_early(workshop: Workshop) -> None:
    from saint.report import summarise, to_html

    narrow = 'proposals=[{kind="lora", options={rank=2}, bundle="site", lr=0.02}]'
    overrides = (
        "budget.train_tokens=4800",
        "controls.after=last round",
        "controls.random=true",
        "gates.gain.at_least_bpb=-1.0",
    )
    one = grow(begin(workshop, "rounds=9", narrow, *overrides))
    assert len(one.registry.state.rounds) < 9
    [measured] = one.registry.state.measured
    arms = {arm["name"]: arm for arm in measured["arms"]}
    assert set(arms) == {"grafts", "lora", "random", "full", "full, interpolated"}
    controls = {control["name"]: control for control in one.registry.state.controls}
    everywhere, by_chance = controls["lora"], controls["random"]
    assert everywhere["scheduled_tokens"] == by_chance["scheduled_tokens"]
    assert len(by_chance["candidate"]["sites"]) < len(everywhere["candidate"]["sites"])
    assert arms["grafts"]["num_params"] <= arms["random"]["num_params"]
    assert "LoRA at sites drawn by chance" in to_html(summarise(one.registry))


@pytest.mark.slow
def test_lost_weights_of_a_control_are_trained_again(workshop: Workshop) -> None:
    one = begin(workshop, "rounds=2")
    controls = one.registry.work / "controls"

    class LosesThem(Silent):
        def note(self, message: str) -> None:
            if message.startswith("opening the vault"):
                return
            if message.startswith("round 2"):
                shutil.rmtree(controls)

    saint.grow(one.base, one.data, one.plan, one.registry, progress=LosesThem())
    [measured] = one.registry.state.measured
    assert "full" in {arm["name"] for arm in measured["arms"]}


def test_while_another_process_grows_it_growth_waits_and_can_be_stopped(workshop: Workshop) -> None:
    one, said = begin(workshop), []

    class StopsWhileItWaits(Silent):
        def note(self, message: str) -> None:
            said.append(message)

        def advance(self, amount: int) -> None:
            raise Interrupted(f"stopped at {amount}")

    with Registry.open(one.registry.folder).alone(), pytest.raises(Interrupted):
        saint.grow(one.base, one.data, one.plan, one.registry, progress=StopsWhileItWaits())
    assert said == [f"another process grows {one.registry.folder}: waiting for its turn to end"]
    assert [event.name for event in one.registry.ledger] == ["created", "policy_set"]


@pytest.mark.slow
def test_a_stack_changed_while_a_round_is_judged_costs_that_round_and_nothing_else(workshop: Workshop) -> None:
    one, other, said = begin(workshop, "controls.after=never"), Registry.open(workshop.registry), []

    class RollsBackWhileItIsJudged(Silent):
        def task(self, description: str, *, total: int, unit: str) -> AbstractContextManager[Task]:
            last = other.ledger.events()[-1]
            if last.name == "trained" and other.state.standing and not said:
                with pytest.raises(BusyError):
                    other.rollback(other.state.standing[0], reason="it was wrong")
                other.take_out(other.state.standing[0], reason="by somebody who does not ask who holds it")
            return super().task(description, total=total, unit=unit)

        def note(self, message: str) -> None:
            if message.startswith("what stands was changed"):
                said.append(message)

    saint.grow(one.base, one.data, one.plan, one.registry, progress=RollsBackWhileItIsJudged())
    assert len(said) == 1
    state = one.registry.state
    closed = [event.body for event in one.registry.ledger if event.name == "round_closed"]
    assert [body.get("abandoned") for body in closed] == [None, "its stack was changed", None]
    [rolled] = [event for event in one.registry.ledger if event.name == "rolled_back"]
    later = [entry for entry in state.judged if entry.number > rolled.number]
    assert later
    assert all(rolled.body["graft"] not in entry.evidence.stack for entry in later)
    assert verify(one.registry).problems == ()


@pytest.mark.slow
def test_the_vault_is_counted_as_opened_before_anything_is_read(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = begin(workshop, "rounds=1", "controls.after=never")
    from saint.growth import _result

    def stopped(*_: object) -> None:
        raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(_result, "measure_arms", stopped)
        with pytest.raises(Interrupted):
            grow(one)
    assert one.registry.state.num_vault_openings == 1
    grow(one)
    assert one.registry.state.num_vault_openings == 2
    assert len(one.registry.state.measured) == 1


@pytest.mark.slow
def test_the_report_says_when_the_result_is_of_another_stack(workshop: Workshop) -> None:
    from saint.report import summarise, to_html

    one = grow(begin(workshop, "rounds=1", "controls.after=never"))
    assert "stack has changed since" not in to_html(summarise(one.registry))
    one.registry.rollback(one.registry.accepted()[0].digest, reason="x")
    assert "stack has changed since" in to_html(summarise(one.registry))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("schedule.beta2=1.0", "beta2"),
        ("controls.full_lr=-1", "full_lr"),
        ("sensitivity.num_batches=0", "num_batches"),
        ("sensitivity.method=gradiant", "gradient"),
    ],
)
def test_a_plan_that_would_fail_later_is_refused_now(workshop: Workshop, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        begin(workshop, override)
    assert not workshop.registry.exists()


@pytest.mark.parametrize("missing", ["prose/vault", "prose/held_out", "prose/select", "code/retain", "code/vault"])
def test_a_domain_without_one_of_its_splits_is_refused(workshop: Workshop, missing: str) -> None:
    full = open_splits(workshop.root / "text")
    left = {name: corpus for name, corpus in full.corpora.items() if name != missing}
    shutil.rmtree(workshop.root / "text")
    domains = {"x": Domain(role="grow", sources=("x",))}
    save_splits(replace(full, corpora=left), workshop.root / "text", plan=DataPlan(domains=domains))
    with pytest.raises(DataError, match=missing.partition("/")[2]):
        begin(workshop)
    assert not workshop.registry.exists()


def test_changed_tokens_are_noticed(workshop: Workshop) -> None:
    one = begin(workshop)
    shard = next((workshop.root / "text" / "prose" / "vault").glob("*.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="not the file that was prepared"):
        open_data(one.registry, one.plan, one.base)


def test_an_existing_folder_is_left_alone(workshop: Workshop) -> None:
    begin(workshop)
    with pytest.raises(NotARegistryError, match="exists already"):
        begin(workshop)


def test_a_start_that_was_killed_can_be_repeated(workshop: Workshop) -> None:
    for left in ("skeleton", "marker"):
        (workshop.registry / "blobs").mkdir(parents=True)
        if left == "marker":
            Registry.open(workshop.registry)
        begin(workshop)
        assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]
        shutil.rmtree(workshop.registry)


def test_another_base_is_refused(workshop: Workshop) -> None:
    from saint.cli._opening import open_base

    one = begin(workshop)
    other = tiny_base(one.base.tokenizer, seed=1)
    other.model.save_pretrained(workshop.root / "other")
    one.base.tokenizer.save_pretrained(workshop.root / "other")
    with pytest.raises(BaseChangedError, match="weights"):
        open_base(one.registry, str(workshop.root / "other"))


def test_text_too_short_for_the_schedule_is_refused_before_anything_exists(workshop: Workshop) -> None:
    base = tiny_base()
    base.model.config.max_position_embeddings = 10**6
    base.model.save_pretrained(workshop.base)
    with pytest.raises(DataError, match="window"):
        begin(workshop, "schedule.seq_len=20000")
    assert not workshop.registry.exists()


def test_windows_longer_than_the_positions_are_refused(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="reads at most 64"):
        begin(workshop, "schedule.seq_len=65")
    assert not workshop.registry.exists()


def test_a_graft_file_that_was_changed_is_never_composed(workshop: Workshop) -> None:
    from saint.errors import LedgerError

    one = grow(begin(workshop, "rounds=1", "controls.after=never"))
    digest = one.registry.accepted()[0].digest
    blob = one.registry.store.blob_path(digest)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    assert hashlib.sha256(content).hexdigest() != digest
    with pytest.raises(LedgerError, match="was changed"):
        saint.restore(one.registry)
    assert verify(one.registry).problems


def test_the_grown_model_generates_like_any_other(grown: Grown) -> None:
    model = saint.compose(grown.base, saint.restore(grown.registry))
    ids = torch.tensor([[0, 5, 7]])
    made = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert made.shape == (1, 8)
