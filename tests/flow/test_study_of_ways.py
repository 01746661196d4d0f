"""The study of token interfaces from the command line."""

import json
from pathlib import Path

import pytest

from workshop import Workshop

pytestmark = pytest.mark.slow  # every command is a process that loads PyTorch

PLAN = """
name = "tiny"
seeds = [0, 1]
evaluation_seq_len = 16
seconds = 600

[data]
vocab_size = 300

[data.domains.prose]
role = "grow"
sources = ["topics"]

[base]
architecture = "saint_layered"
domain = "prose"
lr = 1e-2
model = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, max_position_embeddings = 16 }
schedule = { num_steps = 12, batch_size = 4, seq_len = 16, evaluate_every = 6 }

[[ways]]
name = "ids"
model = { interface = "binary" }

[[ways]]
name = "learned"
model = { interface = "learned" }
lrs = [1e-2, 2e-2]

[[ways]]
name = "shorter"
num_steps = 4

[[claims]]
name = "ids_within_reach"
better = "ids"
than = "learned"
worse_by = 10.0

[[claims]]
name = "more_steps_do_wonders"
better = "ids"
than = "shorter"
by = 5.0
"""


@pytest.fixture
def plan(workshop: Workshop) -> Path:
    path = workshop.root / "ways.toml"
    path.write_text(PLAN, encoding="utf-8")
    topics = workshop.root / "topics"
    topics.mkdir()
    for place in range(120):
        words = " ".join(f"word{(place * 7 + step * step) % 31}" for step in range(40))
        (topics / f"{place}.txt").write_text(f"Text number {place}: {words}.\n", encoding="utf-8")
    return path


def test_claims_are_measured_and_what_was_done_is_not_done_again(workshop: Workshop, plan: Path) -> None:
    folder = workshop.root / "out"
    command = ("study", "interface", plan, "--output-dir", folder, "--workers", 1)
    done = workshop.saint(*command)
    assert done.returncode == 1, done.stderr  # more steps do no wonders
    figures = [line.split() for line in done.stdout.splitlines() if line.startswith("FIGURE")]
    assert [(name, verdict) for _, name, *_, verdict in figures] == [
        ("ids_within_reach", "ok"),
        ("more_steps_do_wonders", "short"),
        ("seconds", "ok"),
    ]
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    ids, learned, shorter = record["rows"]
    assert len(learned["tried"]) == 2
    assert learned["active_params"] == ids["active_params"] + 16 * 300, "the table learns"
    assert (ids["train_tokens"], shorter["train_tokens"]) == (12 * 4 * 16, 4 * 4 * 16)
    assert record["claims"][1]["holds"] == "no"
    assert "ids against learned" in (folder / "claims.svg").read_text(encoding="utf-8")

    again = workshop.saint(*command, "--json")
    assert again.returncode == 1, again.stderr
    told = json.loads(again.stdout)
    assert told["num_known"] == 2 + 3 + 2
    assert (told["rows"], told["claims"]) == (record["rows"], record["claims"])


def test_a_way_that_is_nobodys_is_refused(workshop: Workshop, plan: Path) -> None:
    plan.write_text(PLAN.replace('than = "shorter"', 'than = "longer"'), encoding="utf-8")
    done = workshop.saint("study", "interface", plan, "--output-dir", workshop.root / "out")
    assert done.returncode == 2
    assert "claim 'more_steps_do_wonders' is about longer" in done.stderr
