"""The footprint against counts that are written out here, and what follows from how it is defined."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch

from saint.composition import compose, newborn
from saint.data import TOKEN_CLASSES, Corpus, Splits, token_classes
from saint.errors import DataError, DivergedError
from saint.evaluation import Losses, footprint
from saint.grafts import Graft
from saint.models import FrozenBase, freeze, token_logits, token_nats
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import moved, small_model

SEQ_LEN = 32
EVERYTHING = 10**6


def graft_of(base: FrozenBase, kind: str, role: str, *, seed: int = 0, **options: Any) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role)
    return moved(newborn(base, Candidate(sites=sites, kind=kind, options=options)), seed=seed)


def one_by_one(base: FrozenBase, stack: list[Graft], graft: Graft, corpus: Corpus) -> tuple[float, float]:
    """Mean KL with || without and nats saved per token, from whole models, row by row, in float64."""
    models = compose(base, stack), compose(base, [*stack, graft])
    kl, saved, count = 0.0, 0.0, 0
    for tokens, lengths, _ in corpus.windows(seq_len=SEQ_LEN, batch_size=1):
        row = tokens[:, : int(lengths[0]) + 1]
        q, p = (token_logits(model, row).double().softmax(-1)[0] for model in models)
        kl += float((p * (p / q).log()).sum())
        saved += float((p / q).gather(1, row[0, 1:, None]).log().sum())
        count += row.shape[1] - 1
    return kl / count, saved / count


@torch.no_grad()
@pytest.mark.parametrize("role", ["up", "block", "q"])
def test_the_divergence_is_that_of_an_independent_count(base: FrozenBase, data: Splits, role: str) -> None:
    """Whether or not something lies below the graft; it is at the second block alone."""
    below = graft_of(base, "lora", "down", rank=2)
    kind, options = ("block", {"width": 3}) if role == "block" else ("lora", {"rank": 2})
    sites = tuple(site for site in base.sites() if site.role == role and site.depth == 1)
    graft = moved(newborn(base, Candidate(sites=sites, kind=kind, options=options)))
    graft.set_strength(100.0)
    found = footprint(base, [below], graft, data.select, losses=Losses(seq_len=SEQ_LEN), num_tokens=EVERYTHING)
    for domain, corpus in data.select.items():
        kl, _ = one_by_one(base, [below], graft, corpus)
        assert found.kl_nats[domain] == pytest.approx(kl, rel=1e-3)
        assert kl > 0


@torch.no_grad()
def test_an_encoder_decoder_has_one_as_well(data: Splits) -> None:
    base = freeze(small_model("t5_gated", vocab_size=300), tokenizer=data.tokenizer)
    graft, corpus = graft_of(base, "lora", "v", rank=2), data.select["prose"]
    losses = Losses(seq_len=SEQ_LEN)
    corpus = corpus.evenly(1500)
    found = footprint(base, (), graft, {"prose": corpus}, losses=losses, num_tokens=EVERYTHING)
    kl, saved = one_by_one(base, [], graft, corpus)
    assert found.kl_nats["prose"] == pytest.approx(kl, rel=1e-3)
    assert weighted(base, corpus, found.saved_by_class["prose"]) == pytest.approx(saved, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("architecture", ["llama", "t5_gated"])
@torch.no_grad()
def test_the_logits_are_what_the_costs_are_from(architecture: str) -> None:
    model = small_model(architecture).eval()
    tokens = torch.randint(1, 96, (3, 8), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([7, 4, 2])
    costs = -token_logits(model, tokens, lengths).log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    paid = torch.arange(7)[None] < lengths[:, None]
    torch.testing.assert_close(costs[paid], token_nats(model, tokens, lengths)[paid])


def weighted(base: FrozenBase, corpus: Corpus, by_class: Any) -> float:
    """The mean over all tokens that the means over classes come to."""
    classes = token_classes(base.tokenizer, vocab_size=300)
    ends = np.cumsum(corpus.num_tokens_each)
    paid = np.delete(np.concatenate(list(corpus.shards)), ends - corpus.num_tokens_each)  # no start tokens
    counts = np.bincount(classes[paid], minlength=len(TOKEN_CLASSES))
    assert {name for name, count in zip(TOKEN_CLASSES, counts, strict=True) if count} == by_class.keys()
    return float(sum(counts[TOKEN_CLASSES.index(name)] * nats for name, nats in by_class.items()) / counts.sum())


def test_classes_and_places_share_out_what_is_saved(base: FrozenBase, data: Splits) -> None:
    graft, losses = graft_of(base, "lora", "up", rank=2), Losses(seq_len=SEQ_LEN)
    found = footprint(base, (), graft, data.select, losses=losses, num_tokens=EVERYTHING)
    for domain, corpus in data.select.items():
        saved = float((losses.of(base, (), corpus) - losses.of(base, [graft], corpus)).sum())
        num_paid = corpus.num_tokens - corpus.num_documents
        assert weighted(base, corpus, found.saved_by_class[domain]) == pytest.approx(saved / num_paid, rel=1e-4)
        assert len(found.saved_by_position[domain]) == 8


def test_eighths_that_no_document_reaches_are_left_out(base: FrozenBase, data: Splits) -> None:
    corpus = data.select["prose"]
    short = replace(
        corpus,
        shards=[corpus.shards[0][:9], corpus.shards[0][:5]],  # of 8 and 4 predictions, in windows of 32
        num_tokens_each=np.array([9, 5]),
        num_bytes_each=np.array([20, 9]),
        documents=corpus.documents[:2],
    )
    graft, losses = graft_of(base, "lora", "up", rank=2), Losses(seq_len=SEQ_LEN)
    found = footprint(base, (), graft, {"prose": short}, losses=losses)
    first, second = found.saved_by_position["prose"]
    saved = float((losses.of(base, (), short) - losses.of(base, [graft], short)).sum())
    assert 8 * first + 4 * second == pytest.approx(saved, rel=1e-4)


def test_a_newborn_leaves_none(base: FrozenBase, data: Splits) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 2}))
    found = footprint(base, (), graft, data.select)
    assert set(found.kl_nats.values()) == {0.0}
    assert {nats for one in found.saved_by_class.values() for nats in one.values()} == {0.0}
    assert (found.energy, found.effective_rank) == (None, None)


def test_text_of_another_tokenizer_is_refused(base: FrozenBase, data: Splits) -> None:
    other = {"prose": replace(data.select["prose"], tokenizer="0" * 64)}
    with pytest.raises(DataError, match="was cut with the tokenizer 000000000000, expected"):
        footprint(base, (), graft_of(base, "lora", "up", rank=1), other)


def test_without_a_tokenizer_there_are_no_classes(data: Splits) -> None:
    bare = tiny_base()
    graft = graft_of(bare, "lora", "up", rank=1)
    assert set(map(len, footprint(bare, (), graft, data.select).saved_by_class.values())) == {0}
    named = footprint(bare, (), graft, data.select, tokenizer=data.tokenizer)
    assert all("word start" in one for one in named.saved_by_class.values())


def test_what_is_no_number_is_refused(base: FrozenBase, data: Splits) -> None:
    graft = graft_of(base, "block", "block", width=2)
    with torch.no_grad():
        next(graft.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="no number"):
        footprint(base, (), graft, data.select)


def lora(base: FrozenBase, *values: float, role: str = "up") -> Graft:
    """A change with these singular values, at the first site of a role."""
    site = next(site for site in base.sites() if site.role == role)
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": len(values), "alpha": len(values)}))
    with torch.no_grad():
        graft.parts[site.key].get_parameter("a").copy_(torch.eye(site.d_in)[: len(values)])
        graft.parts[site.key].get_parameter("b").copy_(torch.eye(site.d_out)[:, : len(values)] * torch.tensor(values))
    return graft


@pytest.mark.parametrize(
    ("values", "rank"), [((2.0,), 1.0), ((3.0, 3.0), 2.0), ((1.0, 1.0, 0.0), 2.0), ((sqrt(3), 1.0), 1.754765)]
)
def test_the_effective_rank_is_the_entropy_of_the_energies(
    base: FrozenBase, data: Splits, values: tuple[float, ...], rank: float
) -> None:
    graft = lora(base, *values)
    found = footprint(base, (), graft, {"prose": data.select["prose"]}, num_tokens=200)
    assert found.effective_rank == pytest.approx(rank, abs=1e-5)
    weight = base.model.get_submodule(graft.candidate.sites[0].module).weight
    assert found.energy == pytest.approx(sum(v**2 for v in values) / float(weight.double().square().sum()), rel=1e-6)


def test_a_change_in_full_is_as_large_as_the_same_one_in_factors(base: FrozenBase, data: Splits) -> None:
    """Above another in full, which changes the weight that it is folded into."""
    low, split = lora(base, 0.5, 0.25, 0.25), {"prose": data.select["prose"]}
    site = low.candidate.sites[0]
    full, below = (newborn(base, Candidate(sites=(site,), kind="dense")) for _ in range(2))
    factors = low.parts[site.key].factors()
    assert factors is not None
    with torch.no_grad():
        next(full.parameters()).copy_((factors.up @ factors.down).view(next(full.parameters()).shape))
        next(below.parameters()).fill_(0.1)
    one, other = (footprint(base, [below], graft, split, num_tokens=200) for graft in (low, full))
    assert other.effective_rank == pytest.approx(one.effective_rank, rel=1e-4)
    assert other.energy == pytest.approx(one.energy, rel=1e-4)


@pytest.mark.parametrize(("kind", "role", "options"), [("block", "block", {"width": 2}), ("bitfit", "up", {})])
def test_what_changes_no_weight_has_neither(
    base: FrozenBase, data: Splits, kind: str, role: str, options: dict[str, Any]
) -> None:
    found = footprint(base, (), graft_of(base, kind, role, **options), data.select, num_tokens=200)
    assert (found.energy, found.effective_rank) == (None, None)
    assert min(found.kl_nats.values()) > 0
