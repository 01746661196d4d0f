"""What was rejected, rolled back or quarantined does not come back under another name."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

import saint
from five_grafts import Garden
from saint import records
from saint.cli import exporting
from saint.cli.main import main
from saint.registry import verify
from workshop import Workshop

FORMS = ("lora", "peft", "merged", "saint-peft")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def export(workshop: Workshop, form: str, *grafts: str) -> Result:
    named = [part for graft in grafts for part in ("--graft", graft)]
    return run("export", workshop.registry, "--format", form, "--output-dir", workshop.root / "out", *named)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_rolled_back_goes_into_nothing(garden: Garden, workshop: Workshop, form: str) -> None:
    middle = garden.digests[2]
    garden.registry.rollback(middle, reason="bad")
    refused = export(workshop, form, middle[:12], garden.digests[0][:12])
    assert refused.exit_code == 2
    assert f"graft {middle[:12]} does not stand, so it is not exported" in refused.output
    assert not (workshop.root / "out").exists()
    assert garden.entries("exported") == garden.entries("consolidated") == []


def test_what_was_rejected_goes_into_nothing(garden: Garden, workshop: Workshop) -> None:
    fourth = garden.digests[3]
    garden.set_gate("cost", at_most_params=1)
    garden.registry.rollback(garden.digests[2], reason="bad")
    garden.rejudge(fourth)
    assert garden.registry.entry(fourth).status == "rolled back"
    assert export(workshop, "merged", fourth[:12]).exit_code == 2


@pytest.mark.parametrize("form", FORMS)
def test_what_is_in_quarantine_goes_into_nothing_though_it_stands(
    garden: Garden, workshop: Workshop, form: str
) -> None:
    """As it does when a watch was killed between the two entries."""
    first = garden.digests[0]
    garden.registry.write("quarantined", {"graft": first, "suite": "code", "reason": "code regressed"})
    refused = export(workshop, form, first[:12])
    assert refused.exit_code == 2
    assert f"graft {first[:12]} is in quarantine (code regressed), so it is not exported" in refused.output
    assert not (workshop.root / "out").exists()


@pytest.mark.parametrize("form", FORMS)
def test_the_ledger_has_what_went_into_an_export_and_how_far_it_is_from_that(
    garden: Garden, workshop: Workshop, form: str
) -> None:
    first, second, middle, fourth, _ = garden.digests
    garden.registry.rollback(middle, reason="bad")
    wanted = [fourth] if form == "saint-peft" else [first, second, fourth]
    done = export(workshop, form, *(graft[:12] for graft in wanted))
    assert done.exit_code == 0, done.output
    assert f"unvalidated, since something below was rolled back: {fourth[:12]}" in done.output
    [body] = garden.entries("consolidated" if form == "merged" else "exported")
    assert (body["grafts"], body["unvalidated"]) == (wanted, [fourth])
    assert body["way"] == ("merge" if form == "merged" else form)
    assert 0 <= body["max_abs_logit_difference"] < 1e-4
    out = workshop.root / "out"
    if form == "merged":
        assert body["base"] == saint.freeze(out).digest
    else:
        assert body["weights"] == records.file_digest(out / "adapter_model.safetensors")
    assert fourth[:12] in run("log", workshop.registry).output
    assert verify(garden.registry).problems == ()


@pytest.mark.parametrize("form", ["lora", "saint-peft"])
def test_what_was_exported_is_refused_once_what_went_into_it_is_in_quarantine(
    garden: Garden, workshop: Workshop, form: str
) -> None:
    fifth = garden.digests[-1]
    assert export(workshop, form, fifth[:12]).exit_code == 0
    garden.registry.write("quarantined", {"graft": fifth, "suite": "code", "reason": "code regressed"})
    garden.registry.rollback(fifth, reason="code regressed")
    before = len(garden.registry.ledger.events())
    refused = run("submit", workshop.registry, "--adapter", workshop.root / "out", "--name", "something else")
    assert refused.exit_code == 2, refused.output
    assert f"exported from, graft {fifth[:12]}, which is in quarantine (code regressed)" in refused.output
    assert len(garden.registry.ledger.events()) == before, "sealed text was not asked"


def test_what_is_rolled_back_while_it_is_exported_is_said(
    garden: Garden, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, middle = exporting._export_adapter, garden.digests[2]

    def slowly(*args: Any) -> dict[str, Any]:
        found = write(*args)
        garden.registry.rollback(middle, reason="bad")
        return found

    monkeypatch.setattr(exporting, "_export_adapter", slowly)
    refused = export(workshop, "lora")
    assert refused.exit_code == 2
    assert f"graft {middle[:12]} was rolled back while it was exported; delete" in refused.output
    assert garden.entries("exported") == []
