"""A published model goes on writing its published text, frozen and under newborn grafts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import newborn
from saint.models import FrozenBase
from saint.records import Candidate

FOLDER = Path(__file__).parents[3].parent / "shared" / "data" / "model_stories260k"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published weights lie outside the repository")
transformers_logging.disable_progress_bar()


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "REFERENCE.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return saint.freeze(FOLDER / "hf")


def written(model: Any, reference: dict[str, Any], *, num_tokens: int | None = None) -> list[int]:
    prompt = torch.tensor([reference["prompt_ids"]])
    kept = num_tokens or len(reference["greedy_ids"])
    with torch.no_grad():
        tokens = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_length=kept,
            min_length=kept,
            do_sample=False,
            pad_token_id=2,
        )
    return list(tokens[0].tolist())


def test_the_frozen_base_writes_the_published_text(base: FrozenBase, reference: dict[str, Any]) -> None:
    tokens = written(base.model, reference)
    assert tokens == reference["greedy_ids"]
    assert base.tokenizer.decode(tokens, skip_special_tokens=True) == reference["greedy_text"]


@pytest.mark.slow
def test_newborn_grafts_change_no_letter_of_it(base: FrozenBase, reference: dict[str, Any]) -> None:
    linear = tuple(site for site in base.sites() if site.sort == "linear")
    blocks = tuple(site for site in base.sites() if site.sort == "block")
    stack = [
        newborn(base, Candidate(sites=linear, kind="phi", options={"rank": 8})),
        newborn(base, Candidate(sites=linear, kind="lora", options={"rank": 4})),
        newborn(base, Candidate(sites=blocks, kind="block", options={"width": 4})),
    ]
    assert written(saint.compose(base, stack), reference) == reference["greedy_ids"]
    base.check()


def test_a_moved_graft_writes_something_else(base: FrozenBase, reference: dict[str, Any]) -> None:
    head = tuple(site for site in base.sites() if site.role == "head")
    graft = newborn(base, Candidate(sites=head, kind="phi", options={"rank": 8}))
    with torch.no_grad():
        graft.parts["lm_head"].phi.fill_(0.5)
    assert written(saint.compose(base, [graft]), reference, num_tokens=40) != reference["greedy_ids"][:40]
    assert written(base.model, reference, num_tokens=40) == reference["greedy_ids"][:40]
