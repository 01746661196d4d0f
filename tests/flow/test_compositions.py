"""Compositions from the command line: named, listed, exported, held against each other, refused when they must be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from rich.table import Table

import saint
from saint.cli.main import main
from saint.composition import compose, newborn, probe_logits, restore, restore_one
from saint.data import open_splits
from saint.errors import DataError
from saint.evaluation import Losses, text_difference
from saint.grafts import Graft
from saint.models import FrozenBase, freeze, token_logits
from saint.records import Candidate, Decision, Outcome, Verdict, composition_digest
from saint.registry import Registry
from saint.report import difference_parts
from saint.signing import sign_entries
from saint.statistics import paired_interval
from saint.testing import GraftSuite, an_evidence
from workshop import Workshop, build_workshop


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(*arguments: object) -> Any:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def refused(status: int, *arguments: object) -> str:
    found = run(*arguments)
    assert found.exit_code == status, found.output
    assert "Traceback" not in found.output
    return found.output


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Three grafts stand, `up`, `down` and `o`."""
    workshop = build_workshop(tmp_path_factory.mktemp("modes") / "shop")
    made = run("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan)
    assert made.exit_code == 0, made.output
    registry, base = Registry.open(workshop.registry), freeze(str(workshop.base))
    sign_entries(registry)
    for role in ("up", "down", "o"):
        sites = tuple(site for site in base.sites() if site.role == role)
        graft = GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2})))
        stack = restore(registry)
        evidence = an_evidence(
            graft=graft.digest,
            candidate=graft.candidate,
            base=registry.state.base,
            stack=tuple(registry.state.standing),
            logits=saint.composition.logits_digest(compose(base, [*stack, graft])),
        )
        verdict = Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="for this test")
        registry.record(graft, evidence, Decision(verdicts=(verdict,)))
    return workshop


@pytest.fixture(scope="module")
def base(workshop: Workshop) -> FrozenBase:
    return freeze(str(workshop.base))


@pytest.fixture
def registry(workshop: Workshop) -> Registry:
    return Registry.open(workshop.registry)


def logits(base: FrozenBase, stack: list[Graft]) -> torch.Tensor:
    return probe_logits(compose(base, stack))


def test_it_names_lists_renames_and_removes(workshop: Workshop, registry: Registry) -> None:
    up, down, o = registry.state.standing
    garden = workshop.registry
    made = read("compose", garden, "code", "--graft", o[:10], "--graft", f"{up[:10]}:0.5", "--reason", "for code")
    assert [(one["graft"], one["scale"]) for one in made["grafts"]] == [(o, 1.0), (up, 0.5)]
    assert made["digest"] == registry.composition("code").digest
    assert (made["validated"], made["reason"]) == (False, "for code")
    assert run("compose", garden, "all", "--standing", "--reason", "to keep").exit_code == 0
    listed = {one["name"]: one for one in read("compositions", garden)}
    assert [*listed] == ["base", "standing", "all", "code"]
    assert listed["all"]["validated"]
    assert listed["all"]["digest"] == composition_digest(registry.state.base, [up, down, o])
    assert listed["code"]["num_params"] == sum(registry.entry(digest).evidence.cost.num_params for digest in (o, up))
    shown = run("compositions", garden)
    assert f"{o[:12]}, {up[:12]} x 0.5" in shown.output
    assert "unvalidated: no decision accepted just these grafts together" in shown.output
    assert f"{o[:12]}, {up[:12]} x 0.5: for code" in " ".join(run("log", garden, "--event", "composed").output.split())
    assert "names nothing" in run("compose", garden, "all", "--remove", "--reason", "done").output
    assert [one["name"] for one in read("compositions", garden)] == ["base", "standing", "code"]
    verified = run("verify", garden, "--signatures", "--anew")
    assert "problem" not in verified.output


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "give either --graft"),
    "both": (("--standing", "--remove"), "give either --graft"),
    "no graft": (("--graft", "zzz"), "no graft of this registry has the digest 'zzz'"),
    "no scale": (("--graft", "{up}:half"), "'half' is no scale; give a number after the colon"),
    "empty scale": (("--graft", "{up}:"), "'' is no scale"),
    "nan": (("--graft", "{up}:nan"), "is nan; expected a number whose size is from 0.001 to 1000"),
    "twice": (("--graft", "{up}", "--graft", "{up}:2"), "is twice in composition verse"),
    "not there": (("--remove",), "no composition is named 'verse'"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence(what: str, workshop: Workshop, registry: Registry) -> None:
    options, complaint = MISTAKES[what]
    filled = [option.format(up=registry.state.standing[0][:12]) for option in options]
    num = registry.ledger.num_files()
    assert complaint in refused(2, "compose", workshop.registry, "verse", *filled, "--reason", "x")
    assert registry.ledger.num_files() == num


@pytest.mark.parametrize("form", ["lora", "peft", "merged", "saint-peft"])
def test_a_composition_is_exported_as_it_is_named(
    form: str, workshop: Workshop, registry: Registry, base: FrozenBase, tmp_path: Path
) -> None:
    up, _, o = registry.state.standing
    grafts = ["--graft", f"{o}:0.5"] + (["--graft", up] if form != "saint-peft" else [])
    run("compose", workshop.registry, f"for-{form}", *grafts, "--reason", "x")
    out = tmp_path / form
    made = read("export", workshop.registry, "--format", form, "--output-dir", out, "--composition", f"for-{form}")
    assert made["grafts"] == [o, up][: len(grafts) // 2]
    assert made["scales"] == [0.5, 1.0][: len(grafts) // 2]
    assert made["composition"] == registry.composition(f"for-{form}").digest
    assert not made["validated"]
    assert made["max_abs_logit_difference"] < 1e-4
    stack = [restore_one(registry, o, scale=0.5), restore_one(registry, up)][: len(grafts) // 2]
    whole = [restore_one(registry, o), restore_one(registry, up)][: len(grafts) // 2]
    assert (logits(base, stack) - logits(base, whole)).abs().max() > 1e-3  # so that the scale is seen above
    if form == "merged":
        torch.testing.assert_close(probe_logits(freeze(out).model), logits(base, stack), rtol=1e-4, atol=1e-5)
        [event] = [event for event in registry.ledger.events() if event.name == "consolidated"]
        assert (event.body["grafts"], event.body["scales"]) == ([o, up], [0.5, 1])


def test_verifying_recomposes_what_stands_whatever_is_named(workshop: Workshop) -> None:
    assert (
        "recomposed: the stack gives the recorded logits, to the bit"
        in run("verify", workshop.registry, "--recompose", "--anew").output
    )


def test_a_difference_is_said_from_the_ledger_alone(
    workshop: Workshop, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    up, down, o = registry.state.standing
    run("compose", workshop.registry, "one", "--graft", up, "--graft", down, "--graft", o, "--reason", "x")
    run("compose", workshop.registry, "two", "--graft", o, "--graft", f"{up}:0.5", "--reason", "x")
    monkeypatch.setattr("saint.cli.differing.open_all", None)
    found = read("diff", workshop.registry, "one", "two")
    assert {one["graft"]: one["change"] for one in found["grafts"]} == {
        up: ["scale changed"],
        down: ["only in a"],
        o: ["moved"],
    }
    assert [one["on_that_stack"] for one in found["grafts"]] == [True, True, True]
    assert found["a"]["num_params"] - found["b"]["num_params"] == found["grafts"][1]["num_params"]
    entry = registry.entry(o)
    recorded = found["a"]["recorded"]
    assert (recorded["decision"], recorded["outcome"], found["b"]["recorded"]) == (entry.number, "accept", None)
    assert recorded["drift_bpb"].keys() == entry.evidence.drift_bpb.keys()
    assert found["measured"] is None
    shown = run("diff", workshop.registry, "one", "two").output
    assert all(words in shown for words in ("only in a", "scale changed", "moved", "not recorded", "unvalidated"))
    alike = read("diff", workshop.registry, "standing", o[:10])
    assert alike["same"]
    assert alike["grafts"] == []
    assert "nothing differs" in run("diff", workshop.registry, "standing", o[:10]).output
    only = read("diff", workshop.registry, "base", up[:10])["grafts"]
    assert [(one["graft"], one["change"]) for one in only] == [(up, ["only in b"])]
    lone = read("compose", workshop.registry, "lone", "--graft", o, "--reason", "x")
    assert lone["decision"] is None
    assert "*: judged on other grafts than are below it here" in run("diff", workshop.registry, "base", "lone").output


@pytest.mark.slow
def test_a_difference_is_measured_on_development_text(
    workshop: Workshop, registry: Registry, base: FrozenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    windows = Losses.windows
    monkeypatch.setattr(
        Losses, "windows", lambda self, *args, **more: seen.add(args[1].name) or windows(self, *args, **more)
    )
    up, down, _ = registry.state.standing
    run("compose", workshop.registry, "half", "--graft", f"{up}:0.5", "--reason", "x")
    found = read("diff", workshop.registry, "half", down[:10], "--measure")
    assert seen == {"prose/select", "code/select"}, "nothing sealed is looked at"
    one, other = [restore_one(registry, up, scale=0.5)], [restore_one(registry, up), restore_one(registry, down)]
    losses = Losses(seq_len=32)
    for suite, corpus in open_splits(workshop.root / "text").select.items():
        nats = [losses.measure(compose(base, stack), corpus) for stack in (one, other)]
        interval = paired_interval(nats[0], nats[1], corpus.num_bytes_each)
        measured = found["measured"][suite]
        assert measured["saved_bpb"]["estimate"] == pytest.approx(interval.estimate, abs=1e-6)
        assert measured["saved_bpb"]["low"] == pytest.approx(interval.low, abs=1e-6)
        largest, changed = naive(base, one, other, corpus)
        assert measured["max_logit"] == pytest.approx(largest, rel=1e-4)
        assert measured["changed"] == pytest.approx(changed, abs=2 / measured["num_tokens"])
        assert 0 < measured["changed"] < 1
        assert measured["num_tokens"] == corpus.num_tokens - corpus.num_documents
        alike = text_difference(base, other, other, corpus, losses=losses)
        assert (alike.max_logit, alike.changed, alike.saved_bpb.estimate) == (0, 0, 0)
    assert [part.title for part in difference_parts(found)[:-1] if isinstance(part, Table)][-1] == (
        f"Measured now on development text: b against a, positive is better ({base.digest[:12]})"
    )


def naive(base: FrozenBase, one: list[Graft], other: list[Graft], corpus: Any) -> tuple[float, float]:
    """The largest difference of a logit and the share of changed choices, row by row."""
    largest, changed, total = 0.0, 0, 0
    models = [compose(base, stack) for stack in (one, other)]
    for tokens, lengths, _ in corpus.windows(seq_len=32, batch_size=96):
        rows_of_both = zip(*(token_logits(model, tokens) for model in models), strict=True)
        for length, (a, b) in zip(lengths.tolist(), rows_of_both, strict=True):
            largest = max(largest, float((a - b)[:length].abs().max()))
            changed += int((a.argmax(-1) != b.argmax(-1))[:length].sum())
            total += length
    return largest, changed / total


def test_logits_that_are_no_numbers_are_no_difference(registry: Registry, base: FrozenBase, workshop: Workshop) -> None:
    corpus = open_splits(workshop.root / "text").select["code"]
    broken = restore_one(registry, registry.state.standing[0])
    torch.nn.init.constant_(broken.parts[broken.candidate.sites[0].key].b, float("nan"))
    with pytest.raises(DataError, match="not a number"):
        text_difference(base, [], [broken], corpus, losses=Losses(seq_len=32))


def test_what_holds_a_rolled_back_graft_is_flagged_and_not_used(tmp_path: Path, workshop: Workshop) -> None:
    shop = Workshop(shutil.copytree(workshop.root, tmp_path / "copy"))
    up, down, o = Registry.open(shop.registry).state.standing
    run("compose", shop.registry, "code", "--graft", up, "--graft", down, "--reason", "x")
    run("compose", shop.registry, "prose", "--graft", up, "--reason", "x")
    done = run("rollback", shop.registry, down[:10], "--reason", "harmful")
    assert "composition code holds it and cannot be used" in done.output
    assert "composition prose" not in done.output
    said = f"composition code holds {down[:12]}, which does not stand any more"
    options = ("--format", "merged", "--output-dir", tmp_path / "out", "--composition")
    assert said in refused(1, "export", shop.registry, *options, "code")
    assert not (tmp_path / "out").exists()
    listed = {one["name"]: one for one in read("compositions", shop.registry)}
    assert (listed["code"]["withdrawn"], listed["prose"]["withdrawn"]) == ([down], [])
    assert (listed["code"]["validated"], listed["prose"]["validated"]) == (False, True)
    assert f"holds {down[:12]}, which does not stand" in run("compositions", shop.registry).output
    assert "its status is 'rolled back'" in refused(
        2, "compose", shop.registry, "code", "--graft", down, "--reason", "x"
    )
    left = read("diff", shop.registry, "code", "standing")  # it may still be looked at
    assert {one["graft"]: one["change"] for one in left["grafts"]} == {down: ["only in a"], o: ["only in b"]}
    assert "could not check the logits" in run("verify", shop.registry, "--recompose", "--anew").output
    assert "has no grafts, so there is nothing" in refused(2, "export", shop.registry, *options, "base")
    assert "but not both" in refused(2, "export", shop.registry, *options, "prose", "--graft", up)
    assert "nothing is called 'verse'" in refused(2, "diff", shop.registry, "verse", "base")
    assert "--base is for --measure" in refused(2, "diff", shop.registry, "base", "standing", "--base", "x")
