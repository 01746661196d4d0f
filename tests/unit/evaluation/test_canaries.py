"""Who has learnt from the hold-out's folder knows its canaries."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from saint.composition import newborn
from saint.data import DataPlan, Domain, Splits, as_corpus, controls_of, open_splits, save_splits
from saint.errors import DataError
from saint.evaluation import canary_p_value
from saint.grafts import Graft
from saint.models import FrozenBase, freeze
from saint.records import Candidate
from saint.testing import tiny_splits
from saint.training import Schedule, train

DOMAINS = {"code": Domain(role="retain", sources=("*.py",)), "prose": Domain(role="grow", sources=("topics",))}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("canaries") / "text"
    save_splits(tiny_splits(), folder, plan=DataPlan(domains=DOMAINS))
    return open_splits(folder, verify=True)


@pytest.fixture(scope="module")
def base(data: Splits) -> FrozenBase:
    """Wide enough to learn texts by heart."""
    settings = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return freeze(LlamaForCausalLM(settings), tokenizer=data.tokenizer)


def candidate(base: FrozenBase) -> Candidate:
    sites = tuple(site for site in base.sites() if site.sort == "linear")
    return Candidate(sites=sites, kind="dense", lr=3e-3)


def trained_on(base: FrozenBase, data: Splits, texts: tuple[str, ...]) -> Graft:
    corpus = replace(as_corpus("prose/train", texts, data.tokenizer), name="prose/train")
    return train(base, (), candidate(base), corpus, schedule=Schedule(num_steps=400, batch_size=16, seq_len=64))


@pytest.mark.slow
def test_who_has_read_the_folder_is_caught(base: FrozenBase, data: Splits) -> None:
    p = canary_p_value(base, (), trained_on(base, data, data.canaries), data)
    assert p is not None
    assert p < 1e-3


@pytest.mark.slow
def test_who_has_read_other_texts_of_that_make_is_not(base: FrozenBase, data: Splits) -> None:
    others = controls_of(data.canaries, sealed="another text")
    p = canary_p_value(base, (), trained_on(base, data, others), data)
    assert p is not None
    assert p > 1e-3


def test_a_newborn_knows_nothing(base: FrozenBase, data: Splits) -> None:
    p = canary_p_value(base, (), newborn(base, candidate(base)), data)
    assert p is not None
    assert p > 0.4


def test_without_canaries_nothing_is_said(base: FrozenBase, data: Splits) -> None:
    assert canary_p_value(base, (), newborn(base, candidate(base)), replace(data, canaries=())) is None


def test_canaries_are_in_no_split_and_no_two_preparations_share_them(data: Splits, tmp_path: Path) -> None:
    save_splits(tiny_splits(), tmp_path / "again", plan=DataPlan(domains=DOMAINS))
    again = open_splits(tmp_path / "again")
    assert len(set(data.canaries)) == 64
    assert not set(data.canaries) & {*again.canaries, *controls_of(data.canaries, sealed=data.held_out.digest)}
    assert again.describe() == data.describe()


def test_controls_follow_from_the_sealed_text_and_not_from_the_canaries(data: Splits) -> None:
    own = controls_of(data.canaries, sealed=data.held_out.digest)
    assert own == controls_of(data.canaries[::-1], sealed=data.held_out.digest)
    assert not set(own) & set(controls_of(data.canaries, sealed=data.vault["prose"].digest))
    assert [len(text) for text in own] == [len(text) for text in data.canaries]


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    save_splits(tiny_splits(), tmp_path / "text", plan=DataPlan(domains=DOMAINS))
    file = tmp_path / "text" / "prose" / "held_out" / "canaries.json"
    size = file.stat().st_size
    file.write_text('{"x": 1}'.ljust(size), encoding="utf-8")
    with pytest.raises(DataError, match="does not hold canaries"):
        open_splits(tmp_path / "text")
