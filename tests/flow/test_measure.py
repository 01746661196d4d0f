"""`saint measure`: a saved model, two of them, a registry against its base; what cannot be meant is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import saint
from saint.cli.main import main
from saint.composition import compose, newborn
from saint.models import freeze
from saint.records import Candidate, Decision, Outcome, Verdict
from saint.registry import Registry
from saint.signing import sign_entries
from saint.tasks import read_questions
from saint.testing import GraftSuite, an_evidence
from workshop import Workshop, build_workshop


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(*arguments: object) -> Any:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A base, and a registry where one graft stands."""
    shop = build_workshop(tmp_path_factory.mktemp("measure") / "shop")
    made = run("init", shop.registry, "--base", shop.base, "--plan", shop.plan)
    assert made.exit_code == 0, made.output
    registry, base = Registry.open(shop.registry), freeze(str(shop.base))
    sign_entries(registry)
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2})))
    evidence = an_evidence(
        graft=graft.digest,
        candidate=graft.candidate,
        base=registry.state.base,
        stack=(),
        logits=saint.composition.logits_digest(compose(base, [graft])),
    )
    verdict = Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="for this test")
    registry.record(graft, evidence, Decision(verdicts=(verdict,)))
    return shop


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of two benchmarks and a text."""
    folder = tmp_path_factory.mktemp("items")
    words = ["name", "value", "module", "file", "class", "type"]
    choices = [
        {"query": f"The {one} of", "choices": [f"{two} {one}", two], "gold": (i + j) % 2}
        for i, one in enumerate(words)
        for j, two in enumerate(words)
    ]
    answers = [{"context": f"The {w} is it.", "question": "What?", "answers": {"text": [w]}, "title": w} for w in words]
    texts = [{"text": f"The {one} is the {two} of a module."} for one in words for two in words]
    for name, lines in (("choices", choices), ("answers", answers), ("texts", texts)):
        content = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")
    (folder / "one.txt").write_text("One document.", encoding="utf-8")
    return folder


def test_a_saved_model_is_measured_alone(shop: Workshop, files: Path) -> None:
    given = (f"choice:mine={files}/choices.jsonl", f"squad={files}/answers.jsonl", f"words={files}/texts.jsonl")
    found = read("measure", shop.base, "--task", given[0], "--task", given[1], "--text", given[2])
    assert found["against"] is None
    assert found["model"] == {
        "name": str(shop.base),
        "base": freeze(str(shop.base)).digest,
        "num_params": freeze(str(shop.base)).num_params,
    }
    mine, squad = found["tasks"]
    assert (mine["task"], mine["num_questions"], mine["num_available"], mine["seed"]) == ("choice:mine", 36, 36, None)
    assert (mine["chance"], squad["chance"]) == (0.5, None)
    assert mine["questions"] == read_questions("choice:mine", files / "choices.jsonl").digest
    assert set(mine["measures"]) == {"accuracy", "accuracy_per_byte"}
    assert set(squad["measures"]) == {"exact_match", "f1"}
    for measure in (*mine["measures"].values(), *squad["measures"].values(), found["texts"][0]["bpb"]):
        assert measure["difference"] is None
        assert measure["value"]["low"] <= measure["value"]["estimate"] <= measure["value"]["high"]
    assert found["texts"][0]["num_documents"] == 36
    assert 1 < found["texts"][0]["bpb"]["value"]["estimate"] < 8


def test_a_registry_is_measured_against_its_base_on_the_same_items(shop: Workshop, files: Path) -> None:
    given = ("--task", f"choice={files}/choices.jsonl", "--text", f"words={files}/texts.jsonl")
    both = read("measure", shop.registry, *given)
    alone = read("measure", shop.base, *given)
    assert (both["model"]["name"], both["against"]["name"]) == ("standing", "base")
    assert both["against"]["grafts"] == []
    assert [one["graft"] for one in both["model"]["grafts"]] == list(Registry.open(shop.registry).state.standing)
    measure = both["texts"][0]["bpb"]
    plain = alone["texts"][0]["bpb"]["value"]["estimate"]
    assert measure["difference"]["estimate"] == pytest.approx(measure["value"]["estimate"] - plain)
    assert measure["difference"]["estimate"] != 0
    accuracy, of_base = (one["tasks"][0]["measures"]["accuracy"] for one in (both, alone))
    assert accuracy["difference"]["estimate"] == pytest.approx(
        accuracy["value"]["estimate"] - of_base["value"]["estimate"]
    )
    turned = read("measure", shop.registry, "--composition", "base", "--against", "standing", *given)
    assert turned["texts"][0]["bpb"]["difference"]["estimate"] == pytest.approx(-measure["difference"]["estimate"])
    folder = read("measure", shop.registry, "--against", shop.base, *given)
    assert folder["texts"][0]["bpb"]["difference"] == measure["difference"]
    itself = read("measure", shop.registry, "--composition", "base", *given)
    assert itself["against"] is None, "the base has nothing to be held against"


def test_a_limit_draws_and_says_so(shop: Workshop, files: Path) -> None:
    given = ("measure", shop.base, "--task", f"choice={files}/choices.jsonl", "--limit", 10)
    one, other = read(*given)["tasks"][0], read(*given, "--seed", 1)["tasks"][0]
    assert (one["num_questions"], one["num_available"], one["seed"]) == (10, 36, 0)
    assert one["questions"] != other["questions"]
    assert read(*given)["tasks"][0] == one


def test_the_table_shows_chance_intervals_and_the_difference(shop: Workshop, files: Path) -> None:
    shown = run("measure", shop.registry, "--task", f"choice={files}/choices.jsonl", "--text", f"w={files}/texts.jsonl")
    assert shown.exit_code == 0, shown.output
    assert "standing against base" in shown.stdout
    for words in ("accuracy, per byte", "50.0%", "bits per byte, right answer", "Differences are standing less base"):
        assert words in shown.stdout
    alone = run("measure", shop.base, "--task", f"choice={files}/choices.jsonl")
    assert "difference" not in alone.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "at least one --task"),
        (("--task", "choice"), "expected TASK=FILES"),
        (("--task", "chioce={files}/choices.jsonl"), "did you mean 'choice'"),
        (("--task", "choice={files}/missing.jsonl"), "correct the path"),
        (("--text", "w={files}/missing.txt"), "correct the path"),
        (("--text", "w={files}/one.txt"), "text 'w' has 1 documents that differ, and needs 4: give more"),
        (("--task", "arc={files}/texts.jsonl"), "texts.jsonl:1 is no line of arc"),
        (("--task", "choice=a", "--task", "choice=b"), "choice is given twice"),
        (("--text", "w={files}/texts.jsonl", "--composition", "base"), "are for a registry"),
        (("--text", "w={files}/texts.jsonl", "--against", "/nowhere"), "not a folder"),
        (("--text", "w={files}/texts.jsonl", "--harness-tasks-in", "x"), "is for --harness"),
        (("--task", "choice={files}/choices.jsonl", "--limit", "1"), "--limit"),
    ],
)
def test_what_cannot_be_meant_is_refused(shop: Workshop, files: Path, arguments: tuple[str, ...], words: str) -> None:
    found = run("measure", shop.base, *(argument.format(files=files) for argument in arguments))
    assert found.exit_code == 2, found.output
    assert words in " ".join(found.output.split())
    assert "Traceback" not in found.output
    assert "plan" not in found.output, "there is none"


def test_a_composition_that_is_none_is_refused(shop: Workshop, files: Path) -> None:
    found = run("measure", shop.registry, "--composition", "nobody", "--text", f"w={files}/texts.jsonl")
    assert found.exit_code == 2
    assert "nobody" in found.output


def test_the_harness_is_asked_for_where_it_is_missing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for module in ("saint.harness", "saint.harness._internals"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    found = run("measure", shop.base, "--harness", "arc_easy")
    assert found.exit_code == 2
    assert "pip install 'saint-g[lm-eval]'" in found.output
