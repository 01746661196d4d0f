"""A graft goes from one registry by way of a library to another over the same base, which judges it anew."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import saint
from made_up_library import Seedling, forge, garden, grown, put, thief
from saint import config, records
from saint.cli.main import main
from saint.composition import probe_logits
from saint.data import Splits
from saint.errors import GraftFileError
from saint.grafts import Graft
from saint.growth import Plan, install, open_data, start
from saint.library import find
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.registry import Registry, verify
from saint.remotes import FolderRemote
from saint.signing import check_signatures
from saint.statements import provenance
from saint.training import Schedule
from workshop import Workshop, build_workshop

QUICK = ("controls.after=never", "rounds=1", "gates.gain.at_least_bpb=-1.0", "gates.cost.at_most_params=100000")
NOW = datetime.now(UTC).isoformat(timespec="seconds")


class Garden:
    """A registry over the workshop's base."""

    def __init__(self, root: Path, *overrides: str) -> None:
        self.workshop: Workshop = build_workshop(root)
        self.base: FrozenBase = saint.freeze(self.workshop.base)
        plan = config.load(self.workshop.plan, Plan, overrides=[*QUICK, *overrides])
        self.registry: Registry = start(self.workshop.registry, self.base, plan, root=root)
        self.data: Splits = open_data(self.registry, plan, self.base)

    @property
    def folder(self) -> Path:
        return self.workshop.registry

    def put(self, role: str, kind: str = "lora", **options: Any) -> Graft:
        """Train a graft on what stands, and let it be judged."""
        sites = tuple(site for site in self.base.sites() if site.role == role)
        candidate = Candidate(sites=sites, kind=kind, options=options or {"rank": 2}, lr=0.05)
        stack = saint.restore(self.registry)
        schedule = Schedule(num_steps=12, batch_size=4, seq_len=16)
        graft = saint.train(self.base, stack, candidate, self.data.train, schedule=schedule)
        evidence = saint.evaluate(self.base, stack, graft, self.data.select, grown="prose")
        sealed = saint.Sealed(self.base, stack, [*stack, graft], self.data)
        self.registry.record(graft, evidence, saint.judge(self.registry, evidence, sealed))
        return graft

    def names(self) -> list[str]:
        return [event.name for event in self.registry.ledger]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["library", *map(str, arguments)])


def publish(garden: Garden, graft: Graft, place: Path, competence: str = "prose") -> None:
    done = run("publish", garden.folder, graft.digest[:12], place, "--competence", competence, "--licence", "MIT")
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_publish_list_show_and_install(tmp_path: Path) -> None:
    here, there, place = Garden(tmp_path / "here"), Garden(tmp_path / "there"), tmp_path / "library"
    first, second = here.put("up"), here.put("down")
    publish(here, first, place)
    publish(here, second, place, "code")

    table = run("list", place, "--for", there.folder).output
    assert "same base" in table
    assert f"{first.digest[:12]} below it" in " ".join(table.replace("│", " ").split())
    assert first.digest in run("show", place, first.digest[:12]).output

    early = run("install", place, second.digest[:12], there.folder)
    assert early.exit_code == 2
    assert "install those first" in early.stderr
    assert there.names() == ["created", "policy_set"], "nothing was written"

    [signer] = find(FolderRemote(place), first.digest).signers
    done = run("install", place, first.digest[:12], there.folder, "--require-signer", signer.key_id, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["decision"], said["judged_before"], said["digest"]) == ("accept", False, first.digest)
    assert there.names()[2:] == ["submitted", "queried", "judged"]
    assert there.registry.state.standing == [first.digest]
    body = there.registry.state.submitted[first.digest]
    listed = find(FolderRemote(place), first.digest)
    assert body["library"]["certificate"] == listed.digest
    assert body["library"]["signers"] == [{"key_id": signer.key_id, "known_as": signer.known_as}]
    assert body["library"]["origin"] == here.registry.origin
    assert there.registry.payload(listed.digest) == listed.content, "the ledger keeps the certificate"
    local = there.registry.entry(first.digest)
    assert local.evidence.cost.train_tokens == 0, "it was not trained here"
    assert local.candidate == listed.certificate.evidence.candidate

    done = run("install", place, second.digest, there.folder)
    assert done.exit_code == 0, done.output
    assert there.registry.state.standing == [first.digest, second.digest]
    assert "certificate beside this registry" in done.output

    again = run("install", place, first.digest, there.folder)
    assert again.exit_code == 0
    assert "was judged here before" in again.output
    assert len([name for name in there.names() if name == "judged"]) == 2

    assert verify(there.registry).problems == ()
    assert check_signatures(there.registry, now=NOW).problems == ()
    shown = CliRunner().invoke(main, ["show", str(there.folder), first.digest[:12]]).output
    assert f"with certificate {listed.digest[:12]}" in " ".join(shown.split())
    assert listed.digest in json.dumps(provenance(there.registry.entry(first.digest), there.registry.state))
    composed = [saint.compose(one.base, saint.restore(one.registry)) for one in (here, there)]
    ours, theirs = map(probe_logits, composed)
    assert (ours == theirs).all()


@pytest.mark.slow
def test_the_certificate_decides_nothing(tmp_path: Path) -> None:
    here, place = Garden(tmp_path / "here"), tmp_path / "library"
    there = Garden(tmp_path / "there", "gates.cost.at_most_params=1")
    graft = here.put("up")
    publish(here, graft, place)

    def boast(plain: dict[str, Any]) -> None:
        plain["predicate"]["evidence"]["gain_bpb"]["estimate"] = 99.0
        plain["predicate"]["evidence"]["cost"]["num_params"] = 0
        plain["predicate"]["source"]["judged"] = "2999-01-01T00:00:00+00:00"

    forge(place, boast, key=thief(tmp_path))
    [owner] = find(FolderRemote(place), graft.digest).certificate.keys
    assert run("show", place, graft.digest).output.count("unknown key") == 1
    refused = run("install", place, graft.digest, there.folder, "--require-signer", "0" * 64)
    assert refused.exit_code == 1
    assert "is signed by key" in refused.stderr
    assert owner in refused.stderr
    assert there.names() == ["created", "policy_set"]
    done = run("install", place, graft.digest, there.folder)
    assert done.exit_code == 0, done.output
    assert f"\nreject: graft {graft.digest[:12]}" in done.output
    assert "+99.0000" in done.output, "it is shown"
    [entry] = there.registry.state.judged
    assert entry.status == "rejected"
    assert entry.evidence.gain_bpb.estimate < 5
    assert entry.evidence.cost.num_params > 0
    assert "unknown key" in CliRunner().invoke(main, ["show", str(there.folder), graft.digest[:12]]).output

    assert "was judged here before" in run("install", place, graft.digest, there.folder).output
    assert len(there.registry.state.judged) == 1
    assert run("install", place, graft.digest, there.folder, "--again").exit_code == 0
    assert len(there.registry.state.judged) == 2
    published = run("publish", there.folder, graft.digest, place, "--competence", "prose", "--licence", "MIT")
    assert published.exit_code == 2
    assert "is rejected, and only grafts that stand are published" in published.stderr


@pytest.mark.slow
def test_a_certificate_that_does_not_describe_its_file_leaves_no_trace(tmp_path: Path) -> None:
    here, place = Garden(tmp_path / "here"), tmp_path / "library"
    graft = here.put("up")
    publish(here, graft, place)
    [good] = (place / "certificates").iterdir()
    there, key = Garden(tmp_path / "there"), thief(tmp_path)
    block = next(site for site in there.base.sites() if site.sort == "block")
    for words, change in {
        "exceeds": {"options": {"rank": 1_000_000_000_000}},
        "sites 144,115,188,075,856,172": {
            "kind": "block",
            "options": {"width": 1 << 50},
            "sites": [records.to_plain(block)],
        },
        "bytes, and one of its kind": {"options": {"rank": 3}},
        "no key": {"options": {"rank": 2, "run": "rm"}},
        "gremlin": {"kind": "gremlin"},
        "which this base does not have": {"sites": [{**records.to_plain(block), "module": "os.path"}]},
    }.items():
        digest = forge(place, partial(_change_candidate, change), key=key)
        refused = run("install", place, digest, there.folder, "--require-signer", key.key_id)
        assert refused.exit_code in (1, 2), refused.output
        assert words in refused.stderr
        assert refused.stderr.strip().splitlines()[-1].startswith("saint: ")
        _leave_only(place, good)
    other = hashlib.sha256(b"").hexdigest()
    assert run("install", place, other, there.folder).exit_code == 2
    assert there.names() == ["created", "policy_set"]


def test_a_size_beyond_64_bits_is_told_in_one_sentence(tmp_path: Path) -> None:
    registry = garden(tmp_path / "garden")
    put(registry, grown(registry, "rose"), tmp_path / "library")
    listed = find(FolderRemote(tmp_path / "library"), Seedling("rose").digest)
    site = Site(sort="block", module="m", role="block", depth=0, d_in=8192, d_out=8192)
    candidate = Candidate(sites=(site,), kind="block", options={"width": records.LARGEST_EXACT_INT})
    said = replace(listed.certificate, evidence=replace(listed.certificate.evidence, candidate=candidate))
    base: Any = SimpleNamespace(sites=lambda: [site])
    nothing: Any = None
    with pytest.raises(GraftFileError, match="of a size that nothing can have"):
        install(base, nothing, nothing, nothing, replace(listed, certificate=said), Seedling("rose").to_bytes())


def _change_candidate(change: Mapping[str, Any], plain: dict[str, Any]) -> None:
    plain["predicate"]["evidence"]["candidate"].update(change)


def _leave_only(place: Path, good: Path) -> None:
    for file in (place / "certificates").iterdir():
        if file != good:
            file.unlink()


@pytest.mark.slow
def test_a_graft_that_was_measured_on_others_can_be_judged_on_what_stands(tmp_path: Path) -> None:
    here, there, place = Garden(tmp_path / "here"), Garden(tmp_path / "there"), tmp_path / "library"
    here.put("up")
    second = here.put("down")
    publish(here, second, place)
    done = run("install", place, second.digest, there.folder, "--on-local-stack")
    assert done.exit_code == 0, done.output
    [entry] = there.registry.state.judged
    assert entry.evidence.stack == ()
    assert find(FolderRemote(place), second.digest).certificate.evidence.stack != ()
