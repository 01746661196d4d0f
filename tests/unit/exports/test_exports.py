"""Every document holds what the ledger holds, says what it does not, and keeps to its standard."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from made_up_garden import BASE, FERN, LILY, MOSS, ROSE, TEXT, created, judged, made_up_garden, trained
from saint.cli.main import main
from saint.errors import ExportError
from saint.exports import (
    annex_iv,
    annex_iv_markdown,
    annex_iv_text,
    check_ml_bom,
    check_model_card,
    front_matter,
    gather,
    ml_bom,
    ml_bom_text,
    model_card,
    not_recorded,
    statements,
    statements_text,
)
from saint.registry import Registry

WRITERS = [statements_text, ml_bom_text, model_card, annex_iv_text, annex_iv_markdown]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return made_up_garden(tmp_path_factory.mktemp("exports") / "garden")


def licensed(folder: Path) -> Registry:
    """On a base that others find, with text whose licence is known, and with all of the environment."""
    base = {**created()["base"], "source": "somebody/a-base", "local": False, "revision": "f" * 40}
    text = {name: {**one, "license": "CC-BY-4.0 | see NOTICE"} for name, one in TEXT.items()}
    machine = {"processor": "x86_64", "system": "Linux", "num_threads": 1, "device": "cpu", "accelerator": "none"}
    return made_up_garden(folder, base=base, data=text, code="1" * 64, packages="2" * 64, machine=machine)


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_ledger_gives_the_same_document(registry: Registry, write: Any) -> None:
    assert write(gather(registry)) == write(gather(Registry.open(registry.folder)))


@pytest.mark.parametrize("write", WRITERS)
def test_no_document_gives_a_verdict_on_the_law(registry: Registry, write: Any) -> None:
    assert "complian" not in write(gather(registry)).lower()


def test_each_graft_that_stands_has_its_three_statements(registry: Registry) -> None:
    made = statements(gather(registry))
    subjects = [one["subject"][0]["digest"]["sha256"] for one in made[1:]]
    assert subjects == [ROSE.digest] * 3 + [FERN.digest] * 3
    assert len(statements_text(gather(registry)).splitlines()) == len(made)


def test_the_bill_has_every_graft_once_with_the_hash_of_its_bytes(registry: Registry) -> None:
    bill = ml_bom(gather(registry))
    grafts = [one for one in bill["components"] if one["bom-ref"].startswith("graft:")]
    assert {one["bom-ref"]: one["scope"] for one in grafts} == {
        f"graft:sha256:{ROSE.digest}": "required",
        f"graft:sha256:{FERN.digest}": "required",
        f"graft:sha256:{LILY.digest}": "excluded",
    }
    for one in grafts:
        [found] = one["hashes"]
        assert registry.payload(found["content"])  # it is hashed as it is read
    assert MOSS.digest not in json.dumps(bill)


def test_the_graph_leads_from_the_composition_to_grafts_base_and_text(registry: Registry) -> None:
    bill = ml_bom(gather(registry))
    depends = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    refs = [bill["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in bill["components"])]
    assert len(set(refs)) == len(refs)
    assert depends.keys() == set(refs)
    assert {ref for inside in depends.values() for ref in inside} <= set(refs)
    base, rose, fern = f"base:sha256:{BASE}", f"graft:sha256:{ROSE.digest}", f"graft:sha256:{FERN.digest}"
    assert depends[refs[0]] == [base, rose, fern]
    assert depends[rose] == [base, f"data:sha256:{TEXT['prose/train']['digest']}"]
    assert depends[base] == []


def test_the_strict_schema_takes_the_bill_and_refuses_a_bogus_field(registry: Registry, tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="the extra `exports` is not installed")
    pytest.importorskip("jsonschema", reason="the extra `exports` is not installed")
    for one in (registry, licensed(tmp_path / "garden")):
        assert check_ml_bom(ml_bom_text(gather(one)))
    bill = ml_bom(gather(registry))
    bill["components"][1]["modelCard"]["bogus"] = 1
    with pytest.raises(ExportError, match="schema"):
        check_ml_bom(json.dumps(bill))


def test_a_licence_is_said_where_it_is_known_and_missed_where_not(registry: Registry, tmp_path: Path) -> None:
    known = gather(licensed(tmp_path / "garden"))
    text = [one for one in ml_bom(known)["components"] if one["type"] == "data"]
    assert all(one["licenses"][0]["license"]["name"].startswith("CC-BY-4.0") for one in text)
    assert not any("licence of the text" in one for one in not_recorded(known))
    assert "the licence of the text of code, prose" in not_recorded(gather(registry))
    assert len(not_recorded(known)) < len(not_recorded(gather(registry)))


def test_the_card_names_a_base_that_others_find_and_no_other(registry: Registry, tmp_path: Path) -> None:
    assert "base_model" not in front_matter(gather(registry))
    matter = front_matter(gather(licensed(tmp_path / "garden")))
    assert (matter["base_model"], matter["base_model_relation"]) == ("somebody/a-base", "adapter")


def test_the_hub_reads_the_card_as_it_was_meant(registry: Registry) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(gather(registry)))
    assert card.data.license == "unknown"
    found = {(one.dataset_name, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert found == {("prose", "bits_per_byte_saved"): 0.2, ("code", "bits_per_byte_lost"): 0.2}
    assert card.data.model_name == "meadow <1>"


def test_the_card_shows_what_people_wrote_as_text(registry: Registry) -> None:
    page = model_card(gather(registry))
    row = next(line for line in page.splitlines() if line.startswith(f"| {LILY.digest[:12]}"))
    assert "rolled back: worse \\| on \\*code\\* \\<b\\>" in row
    assert row.count(" | ") == 6


def test_a_result_of_another_stack_is_not_the_result(tmp_path: Path) -> None:
    registry = made_up_garden(tmp_path / "garden")
    registry.rollback(FERN.digest, reason="since the vault was opened")
    assert "model-index" not in front_matter(gather(registry))
    assert "a result on the vault of what stands" in not_recorded(gather(registry))


@pytest.mark.parametrize("damage", ["", "no front matter", '---\nlicense: "mit"\n---\n'])
def test_a_card_that_the_hub_would_not_take_is_refused(damage: str) -> None:
    with pytest.raises(ExportError, match="model card"):
        check_model_card(damage)


def point(record: dict[str, Any], name: str) -> Any:
    [found] = [one["recorded"] for one in record["points"] if one["point"] == name]
    return found


def test_the_skeleton_has_every_point_and_marks_the_gaps(registry: Registry) -> None:
    record = annex_iv(gather(registry))
    names = [one["point"] for one in record["points"]]
    assert names == [*(f"1({x})" for x in "abcdefgh"), *(f"2({x})" for x in "abcdefgh"), *"3456789"]
    assert point(record, "8") == "not recorded"
    assert point(record, "1(a)")["provider"] == "not recorded"
    assert point(record, "2(g)")["signatures of the responsible persons"] == "not recorded"
    assert record["num_without_anything"] == 10
    page = annex_iv_markdown(gather(registry))
    assert all(f"\n## {name} " in page for name in names)
    assert json.loads(annex_iv_text(gather(registry))) == record


def test_the_skeleton_says_what_was_to_change_what_changed_and_what_it_took(registry: Registry) -> None:
    record = annex_iv(gather(registry))
    changes = point(record, "2(f)")["changes that stand, and the policy in force when they were judged"]
    assert changes == [{"graft": graft.digest, "policy": "e" * 64} for graft in (ROSE, FERN)]
    assert [one["graft"] for one in point(record, "2(g)")["dated log of evaluations"]] == [
        graft.digest for graft in (ROSE, LILY, FERN, MOSS)
    ]
    assert point(record, "2(c)")["training of all trials, rejected ones included, in FLOPs"] == 15000.0
    assert [one["change"] for one in point(record, "6")] == ["policy_set"] + ["judged"] * 4 + ["rolled_back"]


def test_a_trial_says_what_it_was_made_with(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    registry.write("created", created())
    with_its_own = {"versions": {"torch": "3.0"}, "code": "3" * 64, "packages": "4" * 64, "machine": {"device": "cuda"}}
    trained(registry, ROSE, environment=with_its_own)
    judged(registry, ROSE)
    [_, made, *_] = statements(gather(registry))
    inside = made["predicate"]["buildDefinition"]["internalParameters"]
    assert inside == {**with_its_own, "asOf": "the trial"}


def test_an_empty_registry_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="base"):
        gather(Registry.open(tmp_path / "empty"))


@pytest.mark.parametrize("sort", ["slsa", "ml-bom", "model-card", "annex-iv"])
def test_the_command_writes_the_file_and_tells_a_program(registry: Registry, tmp_path: Path, sort: str) -> None:
    if sort == "ml-bom":
        pytest.importorskip("cyclonedx", reason="the extra `exports` is not installed")
    file = tmp_path / "document"
    ran = CliRunner().invoke(main, ["export", str(registry.folder), "--as", sort, "--output", str(file), "--json"])
    assert ran.exit_code == 0, ran.output
    record = json.loads(ran.stdout)
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["schema_checked"] is (True if sort == "ml-bom" else None)


def test_a_bill_that_could_not_be_checked_does_not_look_checked(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saint.exports._ml_bom.importlib.util.find_spec", lambda _: None)
    arguments = ["export", str(registry.folder), "--as", "ml-bom", "--output", str(tmp_path / "bom.json")]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 3
    assert "saint-g[exports]" in ran.stderr
    assert "keeps to its schema" not in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--as", "slsa"],
        ["--format", "lora"],
        ["--as", "slsa", "--format", "lora", "--output", "x"],
        ["--as", "slsa", "--output", "x", "--output-dir", "y"],
        ["--as", "slsa", "--output", "x", "--graft", "ab"],
        ["--format", "lora", "--output-dir", "x", "--output", "y"],
        ["--as", "pdf", "--output", "x"],
        ["--as", "slsa", "--output", "."],
    ],
)
def test_wrong_usage_is_one_sentence(registry: Registry, arguments: list[str]) -> None:
    ran = CliRunner().invoke(main, ["export", str(registry.folder), *arguments])
    assert ran.exit_code == 2
    assert "Traceback" not in ran.output


@pytest.mark.parametrize(
    "put", [os.mkfifo, os.mkdir, lambda place: place.symlink_to("/nowhere/at/all"), lambda place: place.symlink_to(".")]
)
def test_what_is_no_ordinary_file_is_not_written_over(registry: Registry, tmp_path: Path, put: Any) -> None:
    put(tmp_path / "card.md")
    before = (tmp_path / "card.md").lstat()
    words = ["export", str(registry.folder), "--as", "model-card", "--output", str(tmp_path / "card.md")]
    ran = CliRunner().invoke(main, words)
    assert (ran.exit_code, "is there and is no ordinary file; give" in ran.output) == (2, True), ran.output
    assert (tmp_path / "card.md").lstat().st_ino == before.st_ino
