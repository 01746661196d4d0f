"""`saint blame`: tables, JSON, page and picture of a stack that stands; nothing sealed is looked at."""

import json

import pytest
from click.testing import CliRunner, Result

from saint.cli.main import main
from saint.composition import newborn
from saint.data import open_splits
from saint.evaluation import Losses
from saint.models import freeze
from saint.records import Candidate, Decision, Outcome, Verdict
from saint.registry import Registry
from saint.testing import GraftSuite, an_evidence
from workshop import Workshop


def saint(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def grown(workshop: Workshop, *roles: str) -> list[str]:
    """A registry in which a moved graft stands for each role; their digests."""
    made = saint("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan)
    assert made.exit_code == 0, made.output
    registry, base = Registry.open(workshop.registry), freeze(str(workshop.base))
    for role in roles:
        sites = tuple(site for site in base.sites() if site.role == role)
        graft = GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 2})))
        evidence = an_evidence(
            graft=graft.digest,
            candidate=graft.candidate,
            base=registry.state.base,
            stack=tuple(registry.state.standing),
        )
        verdict = Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="for this test")
        registry.record(graft, evidence, Decision(verdicts=(verdict,)))
    return [entry.digest for entry in registry.accepted()]


def test_it_says_who_changed_what_and_asking_twice_computes_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    measure = Losses.measure
    monkeypatch.setattr(Losses, "measure", lambda self, *args: seen.append(args[1].name) or measure(self, *args))
    digests = grown(workshop, "up", "down", "o")

    first = saint("blame", workshop.registry, "--json")
    assert first.exit_code == 0, first.output
    assert sorted(seen) == ["code/select"] * 8 + ["prose/select"] * 8, "development text only, each sub-stack once"
    record = json.loads(first.stdout)
    assert [graft["digest"] for graft in record["grafts"]] == list(record["stack"]) == digests
    for suite in record["suites"].values():
        values = [share["shapley"]["estimate"] for share in suite["shares"]]
        assert sum(values) == pytest.approx(suite["total"]["estimate"], abs=1e-6)
        assert len(suite["pairs"]) == 3
        assert all(len(share["documents"]) == 3 for share in suite["shares"])

    seen.clear()
    again = saint("blame", workshop.registry, "--json")
    assert json.loads(again.stdout) == record
    page, picture = workshop.root / "blame.html", workshop.root / "blame.svg"
    shown = saint("blame", workshop.registry, "--html", page, "--svg", picture)
    assert shown.exit_code == 0, shown.output
    assert seen == []
    assert all(digest[:12] in page.read_text(encoding="utf-8") for digest in digests)
    assert picture.read_text(encoding="utf-8").startswith("<svg")

    file = sorted((workshop.registry / "work" / "losses").iterdir())[0]
    file.write_text("half a li")
    mended = saint("blame", workshop.registry, "--json")
    assert json.loads(mended.stdout) == record
    assert len(seen) == 1
    assert "is damaged" in mended.stderr


def test_one_suite_as_text(workshop: Workshop) -> None:
    [digest] = grown(workshop, "up")
    said = saint("blame", workshop.registry, "code")
    assert said.exit_code == 0, said.output
    assert digest[:12] in said.stdout
    assert "code (select" in said.stdout
    assert "prose (select" not in said.stdout
    assert saint("verify", workshop.registry).exit_code == 0, "what is kept is no part of the record"


def test_nothing_stands(workshop: Workshop) -> None:
    grown(workshop)
    said = saint("blame", workshop.registry)
    assert said.exit_code == 0
    assert said.stdout == "no graft stands, so nothing can be blamed\n"
    assert json.loads(saint("blame", workshop.registry, "--json").stdout)["grafts"] == []


def test_the_vault_is_measured_only_after_growth_has_opened_it(workshop: Workshop) -> None:
    grown(workshop, "up")
    refused = saint("blame", workshop.registry, "--split", "vault")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("saint: the vault of")
    assert "was never opened" in refused.stderr
    assert not (workshop.registry / "work" / "losses").exists()

    registry = Registry.open(workshop.registry)
    registry.write("vault_opened", {"split": "vault", "stack": list(registry.state.standing)})
    allowed = saint("blame", workshop.registry, "--split", "vault", "--json")
    assert allowed.exit_code == 0, allowed.output
    suites = json.loads(allowed.stdout)["suites"]
    assert suites["prose"]["documents"] == open_splits(workshop.root / "text").vault["prose"].digest
    shown = [one for suite in suites.values() for share in suite["shares"] for one in share["documents"]]
    assert {one["beginning"] for one in shown} == {""}, "numbers come out of the vault, and no text"


def test_a_suite_that_has_no_development_text(workshop: Workshop) -> None:
    grown(workshop, "up")
    refused = saint("blame", workshop.registry, "poems")
    assert refused.exit_code == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("saint: there is no suite 'poems' with select text")
    assert "there are code, prose" in refused.stderr
