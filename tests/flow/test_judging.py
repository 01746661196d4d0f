"""The product around the gates: policy, hold-out, approval, audit, watching and retries, as a user meets them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import saint
from saint import config, records
from saint.cli.main import main
from saint.data import Splits
from saint.errors import BusyError, HoldOutError, LedgerError, UnknownNameError
from saint.grafts import Graft
from saint.growth import Plan, open_data, start, watch
from saint.judging import replay_decisions
from saint.models import FrozenBase
from saint.records import Candidate, Outcome
from saint.registry import Registry, verify
from saint.training import Schedule
from workshop import Workshop, build_workshop

QUICK = ("controls.after=never", "rounds=1", "gates.gain.at_least_bpb=-1.0")


class Garden:
    """A registry with what it was made from."""

    def __init__(self, workshop: Workshop, *overrides: str) -> None:
        self.base: FrozenBase = saint.freeze(workshop.base)
        self.plan: Plan = config.load(workshop.plan, Plan, overrides=overrides)
        self.registry: Registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data: Splits = open_data(self.registry, self.plan, self.base)

    def grow(self) -> "Garden":
        saint.grow(self.base, self.data, self.plan, self.registry)
        return self

    def names(self) -> list[str]:
        return [event.name for event in self.registry.ledger]

    def put(self, role: str, *, reverse: bool = False, seed: int = 0) -> Graft:
        """Judge a trained graft, or one that goes the other way at four times the strength, and let it stand."""
        sites = tuple(site for site in self.base.sites() if site.role == role)
        candidate = Candidate(sites=sites, kind="lora", options={"rank": 2}, lr=0.05, seed=seed)
        stack = saint.restore(self.registry)
        schedule = Schedule(num_steps=20, batch_size=4, seq_len=16)
        graft = saint.train(self.base, stack, candidate, self.data.train, schedule=schedule)
        if reverse:
            graft.set_strength(-4.0)
        evidence = saint.evaluate(self.base, stack, graft, self.data.select, grown="prose")
        sealed = saint.Sealed(self.base, stack, [*stack, graft], self.data)
        self.registry.record(graft, evidence, saint.judge(self.registry, evidence, sealed))
        return graft


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return build_workshop(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.slow
def test_every_decision_of_a_grown_registry_is_worked_out_again(workshop: Workshop) -> None:
    garden = Garden(workshop, "controls.after=never").grow()
    assert replay_decisions(garden.registry).problems == ()
    done = run("verify", workshop.registry, "--decisions")
    assert done.exit_code == 0, done.output
    assert "worked out again" in done.output
    assert done.output.rstrip().endswith("verified")


@pytest.mark.slow
def test_changed_losses_do_not_stand_up(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK).grow()
    [asked] = garden.registry.state.queries.values()
    assert any(one.passed for one in asked)
    [blob] = {entry.decision.losses for entry in garden.registry.accepted()}
    path = garden.registry.store.blob_path(blob)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"after":[', b'"after":[9', 1))
    done = run("verify", workshop.registry, "--decisions")
    assert done.exit_code == 1
    assert "was changed" in done.output


def test_sealed_numbers_are_in_no_entry_of_the_ledger(workshop: Workshop) -> None:
    """What documents cost lies in blobs; an entry has one bit of it."""
    garden = Garden(workshop, *QUICK).grow()
    losses = [
        loss
        for entry in garden.registry.state.judged
        if entry.decision.losses
        for suite in json.loads(garden.registry.payload(entry.decision.losses))["suites"].values()
        for loss in suite["after"]
    ]
    assert losses
    told = "".join(file.read_text() for file in workshop.registry.glob("log/*/*.json"))
    assert not any(repr(loss)[:12] in told for loss in losses)


def test_the_policy_is_shown_and_changed_by_an_entry(workshop: Workshop) -> None:
    Garden(workshop)
    file = workshop.root / "policy.toml"
    file.write_text(
        "[gates.gain]\nat_least_bpb = 0.5\nat_most_heavy = 0.5\n\n[judging]\nalpha = 0.01\n", encoding="utf-8"
    )
    assert run("policy", workshop.registry, "--set", file).exit_code == 2, "a reason is needed"
    done = run("policy", workshop.registry, "--set", file, "--reason", "stricter", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["judging"]["alpha"] == 0.01
    assert "at_least_bpb 0.5" in run("policy", workshop.registry).output
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set", "policy_set"]
    file.write_text("[gates.gian]\nat_least_bpb = 0.5\n", encoding="utf-8")
    refused = run("policy", workshop.registry, "--set", file, "--reason", "x")
    assert refused.exit_code == 2
    assert "did you mean 'gain'" in refused.output


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("[gates.gain]\nat_least_bpb = 0.0\n[gates.retention]\nat_most_bpb = 0.1\nsuites = {kode = 0.01}\n",
         "did you mean 'code'"),
        ("[gates.gain]\nat_least_bpb = 0.0\nat_most_heavy = 0.02\n", "takes 198"),
    ],
    ids=["a suite that is not there", "text too small"],
)  # fmt: skip
def test_a_policy_that_the_text_cannot_answer_is_refused(workshop: Workshop, policy: str, said: str) -> None:
    garden = Garden(workshop)
    file = workshop.root / "policy.toml"
    file.write_text(policy, encoding="utf-8")
    refused = run("policy", workshop.registry, "--set", file, "--reason", "stricter")
    assert refused.exit_code == 2, refused.output
    assert said in refused.output
    assert garden.names() == ["created", "policy_set"]


def test_a_plan_with_a_limit_for_a_suite_that_is_not_there_starts_nothing(workshop: Workshop) -> None:
    with pytest.raises(UnknownNameError, match=r"limit for the suite 'kode', .* did you mean 'code'"):
        Garden(workshop, "gates.retention.suites={kode=0.0001}")
    assert not workshop.registry.exists()


def test_a_hold_out_is_listed_and_retired(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK)
    assert "not asked yet" in run("holdout", workshop.registry).output
    garden.put("up")
    [listed] = json.loads(run("holdout", workshop.registry, "--json").output)
    assert (listed["num_queries"], listed["num_passed"], listed["num_unanswered"]) == (1, 1, 0)
    assert run("holdout", workshop.registry, "--retire", "somebody read it").exit_code == 0
    assert "retired: somebody read it" in run("holdout", workshop.registry).output
    stopped = run("grow", workshop.registry)
    assert stopped.exit_code == 3, "could not check"
    assert "was retired (somebody read it)" in stopped.output
    assert garden.registry.state.trained == {}, "nothing was trained for it"


def test_a_hold_out_is_retired_before_it_was_ever_asked(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK)
    done = run("holdout", workshop.registry, "--retire", "somebody read it")
    assert done.exit_code == 0, done.output
    [listed] = json.loads(run("holdout", workshop.registry, "--json").output)
    assert listed["holdout"] == garden.registry.state.holdout
    assert (listed["num_queries"], listed["retired"]) == (0, "somebody read it")
    assert listed["num_documents"] == {name: text.num_documents for name, text in garden.data.sealed.items()}
    with pytest.raises(HoldOutError, match="somebody read it"):
        garden.put("up")
    assert run("holdout", workshop.registry, "--retire", "again").exit_code == 2, "it is retired"


def test_what_stands_is_measured_although_the_hold_out_has_expired(workshop: Workshop) -> None:
    """One query is all: it is spent in the first round, and the second one cannot judge what it would train."""
    garden = Garden(workshop, *QUICK, "rounds=2", "judging.at_most_queries=1", "finalists_per_round=1")
    stopped = run("grow", workshop.registry)
    assert stopped.exit_code == 3, stopped.output
    assert "growth ends before its last round, and what stands is measured" in stopped.output
    assert "expired" in stopped.output
    assert "Measured on the vault" in stopped.output
    state = garden.registry.state
    assert len(state.measured) == 1
    assert list(state.rounds) == [0], "the second round trained nothing"
    assert run("grow", workshop.registry).exit_code == 0, "there is nothing left to be judged"
    assert len(garden.registry.state.measured) == 1


@pytest.mark.slow
def test_a_round_whose_finalists_cannot_be_judged_any_more_is_given_up(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "judging.at_most_queries=1", "judging.alpha=1e-9", "finalists_per_round=2",
                    "gates.gain.at_least_bpb=0.0005", "gates.gain.at_most_heavy=1.0",
                    "gates.retention.at_most_heavy=1.0")  # fmt: skip
    with pytest.raises(HoldOutError, match="expired"):
        garden.grow()
    state = garden.registry.state
    assert state.rounds[0]["closed"]
    assert state.rounds[0]["abandoned"]
    assert [entry.status for entry in state.judged] == ["deferred"], "the second finalist could not be asked about"
    assert verify(garden.registry).problems == ()


def test_people_approve_on_the_command_line(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, 'judging.approval=[{name="wide"}]').grow()
    waiting = [entry for entry in garden.registry.state.judged if entry.status == "waits for approval"]
    assert waiting
    assert garden.registry.accepted() == []
    digest = waiting[0].digest[:12]
    done = run("approve", workshop.registry, digest, "--by", "Ada", "--reason", "read forty outputs")
    assert done.exit_code == 0, done.output
    assert "1 of 1, it stands" in done.output
    assert [entry.digest for entry in Registry.open(workshop.registry).accepted()] == [waiting[0].digest]
    again = run("approve", workshop.registry, digest, "--by", "Ada", "--reason", "again")
    assert again.exit_code == 1
    assert "does not wait" in again.output
    assert replay_decisions(garden.registry).problems == ()


def dying(
    garden: Garden,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: str,
    times: int = 1,
    meanwhile: Callable[[], object] = int,
) -> None:
    """Grow until an entry was written so many times, do something, and die."""
    append, left = garden.registry.ledger.append, iter(range(times, 0, -1))

    def dies(name: str, *args: Any, **kwargs: Any) -> Any:
        done = append(name, *args, **kwargs)
        if name == after and next(left) == 1:
            meanwhile()
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(garden.registry.ledger, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            garden.grow()


WIDE = 'judging.approval=[{name="wide"}]'


@pytest.mark.slow
def test_nobody_approves_while_the_registry_grows(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    garden = Garden(workshop, *QUICK, WIDE)
    said = []

    def approve() -> None:
        digest = garden.registry.state.judged[0].digest
        said.append(run("approve", workshop.registry, digest, "--by", "Ada", "--reason", "x"))

    dying(garden, monkeypatch, after="judged", meanwhile=approve)
    [refused] = said
    assert refused.exit_code == 1
    assert "another process grows" in refused.output
    assert "approved" not in garden.names()


@pytest.mark.slow
def test_what_is_measured_on_the_vault_is_what_its_entry_says_though_somebody_would_roll_it_back(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    garden = Garden(workshop, *QUICK)
    said: list[str] = []

    def roll_back() -> None:
        with pytest.raises(BusyError) as refused:
            Registry.open(workshop.registry).rollback(garden.registry.state.standing[0], reason="x")
        said.append(str(refused.value))

    dying(garden, monkeypatch, after="vault_opened", meanwhile=roll_back)
    assert len(said) == 1
    garden.grow()
    [measured] = garden.registry.state.measured
    [grafts] = [arm for arm in measured["arms"] if arm["name"] == "grafts"]
    assert measured["stack"] == garden.registry.state.standing
    assert grafts["num_params"] == sum(entry.evidence.cost.num_params for entry in garden.registry.accepted()) > 0


@pytest.mark.slow
def test_what_is_approved_in_an_open_round_counts_for_it(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    garden = Garden(workshop, *QUICK, WIDE, "finalists_per_round=3")
    dying(garden, monkeypatch, after="judged")
    [waiting] = garden.registry.state.judged
    assert run("approve", workshop.registry, waiting.digest, "--by", "Ada", "--reason", "x").exit_code == 0
    garden.grow()
    state = garden.registry.state
    assert state.standing == [waiting.digest]
    assert [entry.digest for entry in state.judged] == [waiting.digest], "one a round may stand, and one does"
    assert state.rounds[0]["closed"]
    assert not state.rounds[0]["abandoned"]
    assert replay_decisions(garden.registry).problems == ()


@pytest.mark.slow
def test_what_is_approved_under_an_open_round_has_it_begun_anew(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    garden = Garden(workshop, *QUICK, WIDE, "rounds=2", "finalists_per_round=1")
    dying(garden, monkeypatch, after="round_opened", times=2)
    [waiting] = garden.registry.state.judged
    done = run("approve", workshop.registry, waiting.digest, "--by", "Ada", "--reason", "x")
    assert "round 2 was open on the stack before; the next `saint grow` begins it anew" in done.output
    garden.grow()
    rounds_now = garden.registry.state.rounds
    assert [one["abandoned"] for one in rounds_now.values()] == [False, True, False]
    assert rounds_now[2]["stack"] == [waiting.digest]
    assert replay_decisions(garden.registry).problems == ()


def test_a_stream_gives_every_query_documents_of_its_own(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, 'judging.mode="stream"', "judging.documents_per_query=20")
    documents = []
    for seed, role in enumerate(("up", "down")):
        garden.put(role, seed=seed)
        decision = garden.registry.state.judged[-1].decision
        assert decision.query is not None
        losses = json.loads(garden.registry.payload(decision.losses))["suites"]
        assert {len(suite["after"]) for suite in losses.values()} == {20}
        documents.append({suite: one["documents"] for suite, one in losses.items()})
    assert not set(documents[0].values()) & set(documents[1].values())
    refused = run("grow", workshop.registry)
    assert refused.exit_code == 3
    assert "code has 42 sealed documents" in refused.output
    assert replay_decisions(garden.registry).problems == ()


def test_a_suite_that_holds_changes_nothing(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK)
    garden.put("up")
    before = garden.names()
    done = run("watch", workshop.registry, "--suite", "code")
    assert done.exit_code == 0, done.output
    assert "it holds" in done.output
    assert garden.names() == before


def test_what_is_to_blame_is_taken_out_and_what_stood_on_it_is_judged_again(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "gates.retention.at_most_bpb=9.0")
    kept, harmful, above = garden.put("up"), garden.put("down", reverse=True), garden.put("v", seed=1)
    assert garden.registry.state.standing == [kept.digest, harmful.digest, above.digest]
    text = garden.data.select["code"]
    found = watch(garden.base, garden.data, garden.plan, garden.registry, text, suite="code", at_most_bpb=0.0)
    assert not found.holds
    assert found.quarantined == (harmful.digest,)
    assert found.is_mended
    [(digest, outcome)] = found.rejudged
    assert digest == above.digest
    state = garden.registry.state
    assert harmful.digest in state.quarantined
    assert (above.digest in state.standing) == (outcome is not Outcome.REJECT)
    assert [event.name for event in garden.registry.ledger][-5:-2] == ["quarantined", "retrain_queued", "rolled_back"]
    assert garden.names()[-2:] == ["queried", "rejudged"]
    standing = {entry.digest: entry for entry in garden.registry.accepted()}
    assert standing[above.digest].unvalidated == (outcome is not Outcome.ACCEPT)
    [queued] = state.to_retrain
    assert queued["candidate"]["seed"] == 1
    assert verify(garden.registry).problems == ()
    assert replay_decisions(garden.registry).problems == ()
    assert run("watch", workshop.registry, "--suite", "code", "--at-most-bpb", "0").exit_code == 0


@pytest.mark.slow
def test_a_queued_candidate_is_grown_in_the_next_round(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "gates.retention.at_most_bpb=9.0")
    graft = garden.put("down", reverse=True)
    text = garden.data.select["code"]
    watch(garden.base, garden.data, garden.plan, garden.registry, text, suite="code", at_most_bpb=0.0)
    garden.grow()
    state = garden.registry.state
    assert state.to_retrain == []
    assert state.rounds[0]["retrained"] == [graft.digest]
    [first, *_] = state.rounds[0]["candidates"]
    assert (first["seed"], {site["role"] for site in first["sites"]}) == (1, {"down"})


def test_new_text_can_be_watched(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "gates.retention.at_most_bpb=9.0")
    garden.put("down", reverse=True)
    folder = workshop.root / "new"
    folder.mkdir()
    for number in range(12):
        words = f"def name_{number}(value):\n    return value + {number}\n"
        (folder / f"{number}.txt").write_text(words * 3, encoding="utf-8")
    asked: list[Any] = [
        "watch",
        workshop.registry,
        "--suite",
        "letters",
        "--text",
        folder,
        "--at-most-bpb",
        "0",
        "--json",
    ]
    found = json.loads(run(*asked).stdout)
    assert found["suite"] == "letters"
    assert found["holds"] is (found["lost_before_bpb"]["low"] <= 0)
    missing = run("watch", workshop.registry, "--suite", "letters")
    assert missing.exit_code == 2
    assert "there is no letters/select" in missing.output


@pytest.mark.slow
def test_what_sealed_text_did_not_show_comes_back_trained_further(workshop: Workshop) -> None:
    """At a level that nothing passes, each round's finalist is deferred, retried, and in the end refused."""
    strict = ("gates.gain.at_least_bpb=0.0005", "judging.alpha=1e-9", "gates.gain.at_most_heavy=1.0")
    garden = Garden(workshop, *strict, "gates.retention.at_most_heavy=1.0", "controls.after=never", "rounds=3",
                    "retry_steps=6", "judging.at_most_retries=1", "candidates_per_round=1", "finalists_per_round=2",
                    'proposals=[{kind="phi", options={rank=8}, bundle="all", lr=0.05}]')  # fmt: skip
    garden.grow()
    state = garden.registry.state
    retried = [one for one in state.sets.values() if one["way"] == "retry"]
    assert [len(one["members"]) for one in retried] == [1]
    first, second = state.judged[:2]
    assert first.decision.outcome is Outcome.DEFER
    [trial] = retried[0]["members"]
    assert state.trained[trial]["candidate"] == records.to_plain(first.candidate)
    assert second.digest != first.digest
    assert second.evidence.cost.train_tokens > first.evidence.cost.train_tokens
    assert sum(len(asked) for asked in state.queries.values()) == 2, "one and a retry"


def test_a_graft_in_quarantine_is_no_finalist(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "gates.retention.at_most_bpb=9.0")
    from saint.growth._journal import Journal
    from saint.progress import Silent

    graft = garden.put("down", reverse=True)
    journal = Journal(garden.registry, garden.base, garden.data, garden.plan, Silent())
    other = replace(graft.candidate, seed=5)
    assert other != graft.candidate
    garden.registry.write("quarantined", {"graft": graft.digest, "suite": "code", "reason": "x"})
    garden.registry.rollback(graft.digest, reason="x")
    garden.registry.write("round_opened", {"round": 0, "stage": 0, "stack": [], "candidates": []})
    assert journal.finalists(0, [graft]) == []


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["quarantined", "retrain_queued", "rolled_back", "queried"])
def test_a_watch_that_was_killed_is_finished_by_the_next(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    garden = Garden(workshop, *QUICK, "gates.retention.at_most_bpb=9.0")
    _, harmful, above = garden.put("up"), garden.put("down", reverse=True), garden.put("v", seed=1)
    text = garden.data.select["code"]
    append = garden.registry.ledger.append

    def dying(name: str, *args: Any, **kwargs: Any) -> Any:
        done = append(name, *args, **kwargs)
        if name == entry:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(garden.registry.ledger, "append", dying)
        with pytest.raises(KeyboardInterrupt):
            watch(garden.base, garden.data, garden.plan, garden.registry, text, suite="code", at_most_bpb=0.0)
    watch(garden.base, garden.data, garden.plan, garden.registry, text, suite="code", at_most_bpb=0.0)
    state = garden.registry.state
    assert harmful.digest not in state.standing
    assert [one["graft"] for one in state.to_retrain] == [harmful.digest]
    assert garden.names()[-1] in ("rejudged", "rolled_back")
    assert [event.body["graft"] for event in garden.registry.ledger if event.name == "rejudged"] == [above.digest]
    assert replay_decisions(garden.registry).problems == ()


def test_text_with_a_document_less_is_no_new_hold_out(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK)
    shorter = garden.data.held_out.part(slice(1, None))
    garden.data = replace(garden.data, corpora={**garden.data.corpora, "prose/held_out": shorter})
    with pytest.raises(LedgerError, match="this registry's is"):
        garden.put("up")
    assert garden.registry.state.queries == {}


@pytest.mark.slow
def test_a_registry_that_stops_early_is_grown_and_worked_out_again(workshop: Workshop) -> None:
    garden = Garden(workshop, *QUICK, "judging.early_stopping=true").grow()
    asked = [one.query for one in garden.registry.state.queries[garden.registry.state.holdout]]
    assert asked
    assert all(query.early_stopping for query in asked)
    done = run("verify", workshop.registry, "--decisions")
    assert done.exit_code == 0, done.output
    assert "early_stopping true" in run("policy", workshop.registry).output.lower()
