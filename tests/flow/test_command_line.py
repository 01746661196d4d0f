"""The main flow from the command line, as a user runs it, with real processes stopped and killed for real."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from workshop import Workshop

pytestmark = pytest.mark.slow  # every command is a process that loads PyTorch


def standing(workshop: Workshop) -> list[str]:
    status = workshop.saint("status", workshop.registry, "--json")
    assert status.returncode == 0, status.stderr
    return [graft["digest"] for graft in json.loads(status.stdout)["stack"]]


def judgements(workshop: Workshop) -> list[tuple[str, str]]:
    return [(e["body"]["graft"], e["body"]["outcome"]) for e in workshop.events() if e["event"] == "judged"]


def test_grow_look_roll_back_and_verify(workshop: Workshop) -> None:
    workshop.init()
    grown = workshop.saint("grow", workshop.registry)
    assert grown.returncode == 0, grown.stderr
    assert "full fine-tuning" in grown.stdout
    kept = standing(workshop)
    assert kept
    assert len(judgements(workshop)) > len(kept)

    before = workshop.events()
    again = workshop.saint("grow", workshop.registry)
    assert again.returncode == 0
    assert workshop.events() == before, "a finished registry is left alone"

    recomposed = workshop.saint("verify", workshop.registry, "--recompose")
    assert recomposed.returncode == 0, recomposed.stdout
    assert "to the bit" in recomposed.stdout

    shown = workshop.saint("show", workshop.registry, kept[0][:10])
    assert kept[0][:10] in shown.stdout
    assert "retention" in shown.stdout

    blamed = workshop.saint("blame", workshop.registry, "--json")
    assert [graft["digest"] for graft in json.loads(blamed.stdout)["grafts"]] == kept

    assert kept[0][:12] in workshop.saint("blame", workshop.registry, "prose").stdout
    assert workshop.saint("blame", workshop.registry, "--split", "vault").returncode == 0, "growth has opened it"

    page = workshop.root / "report.html"
    assert workshop.saint("report", workshop.registry, "--html", page).returncode == 0
    assert kept[0][:12] in page.read_text(encoding="utf-8")

    back = workshop.saint("rollback", workshop.registry, kept[0][:10], "--reason", "worse on code")
    assert back.returncode == 0, back.stderr
    assert standing(workshop) == kept[1:]
    assert workshop.saint("verify", workshop.registry).returncode == 0
    log = workshop.saint("log", workshop.registry)
    assert "worse on code" in log.stdout


def test_killed_before_it_judges_it_goes_on_to_the_same_end(workshop: Workshop) -> None:
    workshop.init()
    other = Workshop(workshop.root / "undisturbed")
    other.root.mkdir()
    for part in ("base", "text", "plan.toml"):
        (other.root / part).symlink_to(workshop.root / part)
    other.init()
    assert other.saint("grow", other.registry).returncode == 0

    for entries in (3, 5, 7):  # before any query: a lost answer would make the next one harder
        process = start_growing(workshop)
        wait_for_entries(workshop, entries, process)
        process.kill()
        process.communicate()
        verified = workshop.saint("verify", workshop.registry)
        assert verified.returncode == 0, verified.stdout
    finished = workshop.saint("grow", workshop.registry)
    assert finished.returncode == 0, finished.stderr
    assert judgements(workshop) == judgements(other)
    assert standing(workshop) == standing(other)
    assert not list((workshop.registry / "work" / "checkpoints").glob("*"))


def test_ctrl_c_stops_after_the_step_and_grow_resumes_there(workshop: Workshop) -> None:
    longer = workshop.plan.read_text(encoding="utf-8").replace("num_steps = 24", "num_steps = 1500")
    longer = longer.replace("candidates_per_round = 3", "candidates_per_round = 1")
    workshop.plan.write_text(
        longer.replace("100_000", "100_000_000").replace("evaluate_every = 12", "evaluate_every = 1500")
    )
    workshop.init()
    process = start_growing(workshop)
    wait_for_entries(workshop, 3, process)
    time.sleep(2)  # into the training of the first candidate
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    checkpoints = list((workshop.registry / "work" / "checkpoints").glob("*.safetensors"))
    assert len(checkpoints) == 1

    from safetensors import safe_open

    with safe_open(checkpoints[0], framework="numpy") as file:
        reached = json.loads(file.metadata()["position"])["step"]
    assert 0 < reached < 1500

    process = start_growing(workshop)
    wait_for_entries(workshop, 6, process)  # the candidate is trained and judged, and what was kept of it is gone
    process.kill()
    process.communicate()
    assert workshop.events()[4]["body"]["train_tokens"] == 1500 * 4 * 16
    assert not list(checkpoints[0].parent.iterdir())


def start_growing(workshop: Workshop) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "saint.cli", "grow", str(workshop.registry)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def wait_for_entries(workshop: Workshop, number: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 180
    while len(list(workshop.registry.glob("log/*/*.json"))) < number:
        assert time.monotonic() < deadline, "the ledger does not grow"
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
